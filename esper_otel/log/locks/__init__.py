"""Locks on a run's files that only their owner can take, and that nothing waits for without a bound."""
