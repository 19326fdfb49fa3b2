"""A run on one time axis, as a trace that Perfetto opens: all ranks, with slices, counters and findings."""
