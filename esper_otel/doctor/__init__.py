"""Checks of everything that must work before a run can be seen."""
