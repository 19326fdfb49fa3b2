"""Benchmarks against every alternative: ``python -m benchmarks``."""
