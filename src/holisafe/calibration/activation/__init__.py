"""What activation methods are made of: where a model keeps its layers and heads, what goes through them, directions."""
