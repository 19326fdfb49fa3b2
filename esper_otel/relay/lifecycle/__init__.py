"""Evidence about a run: locks, processes, nodes, and the directory that it lies in now."""
