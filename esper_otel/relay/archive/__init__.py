"""Archive of the run on object storage: a pipeline whose work a process of low priority does."""
