"""Explanations of all outputs at once, and how good they are."""
