"""Appending to one log: the open file, the disk's errors, what was lost."""
