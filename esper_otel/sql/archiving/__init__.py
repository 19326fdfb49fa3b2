"""Writing of runs into an archive on object storage: one segment of a log at a time, from where the archive ends."""
