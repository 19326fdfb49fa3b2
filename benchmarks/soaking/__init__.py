"""The parts of the soak: a training process, an endpoint that comes and goes, and what is measured meanwhile."""
