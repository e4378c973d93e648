"""A run folder: written crash-safe by one process, and read by everyone."""
