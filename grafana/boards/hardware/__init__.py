"""Infrastructure: health of the GPUs, device time and software, details, the collector."""
