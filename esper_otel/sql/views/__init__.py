"""Definitions of the SQL views: columns, types, names, calibration."""
