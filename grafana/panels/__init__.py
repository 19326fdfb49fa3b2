"""Panels of every kind, without their place on a dashboard."""
