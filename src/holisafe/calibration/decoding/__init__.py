"""Changing how likely the next token is while a model answers."""
