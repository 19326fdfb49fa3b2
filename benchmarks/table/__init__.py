"""The page of figures: the result of one run of all benchmarks, and docs/evidence/benchmarks.md from two runs."""
