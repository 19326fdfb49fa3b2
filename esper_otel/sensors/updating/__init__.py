"""Updates of any optimizer of the process: what torch is called with, and the norms before and after clipping."""
