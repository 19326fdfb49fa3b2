"""Rows of the dashboard of Tolaria."""
