"""Backfill of finished runs into Prometheus, with their original timestamps."""
