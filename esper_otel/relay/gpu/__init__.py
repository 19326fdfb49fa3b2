"""NVML sampling of the GPUs that a run uses."""
