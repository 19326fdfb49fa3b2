"""The page of figures: what one run of all benchmarks gives, and how two runs become docs/benchmarks.md."""
