"""What methods that change single weights are built of: which layers, which weights in them, and a patch to apply."""
