"""The parts of the soak: a training process, an endpoint with faults, and the samples taken meanwhile."""
