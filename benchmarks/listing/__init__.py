"""Time of the list of runs, with its index and without."""
