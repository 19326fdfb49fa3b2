"""Cost of the dashboards: an hour of a run with a hundred environments, and every query of every panel."""
