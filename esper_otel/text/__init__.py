"""Text that leaves the process: secrets removed, control characters escaped."""
