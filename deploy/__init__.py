"""Deployment beside the trainer, generated from the registry of signals where it names one."""
