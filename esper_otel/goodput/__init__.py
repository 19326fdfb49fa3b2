"""Goodput: the share of a run's wall time in useful steps, and where the rest went; one computation for all readers."""
