"""Healthy training programs, and what share of their updates the limits of the gradient norm mark."""
