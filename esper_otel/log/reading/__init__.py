"""Following one log: segments, lines, positions, patience with a file system that fails."""
