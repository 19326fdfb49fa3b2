"""Costs and losses of recorders and of emit(), in C and in Python."""
