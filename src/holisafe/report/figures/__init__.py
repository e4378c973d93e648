"""Figures as small inline SVG: numbers in, a string out. One file a figure; colours come from the page's stylesheet."""
