"""What the dashboards cost: an hour of a run with a hundred environments, and every query of every panel."""
