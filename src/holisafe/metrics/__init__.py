"""Numbers in, numbers out: `score` for safety, `guard_quality` for the guard, `justified` for both and the reason."""
