"""Dashboards: rows of panels on the grid, annotations and variables."""
