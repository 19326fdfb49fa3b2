"""Rows for Weights & Biases."""
