"""Compressed segments: writing them, and reading all that a damaged one still holds."""
