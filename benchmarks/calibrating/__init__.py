"""Measurement of the limits and alerts: the runs, and what is marked in them."""
