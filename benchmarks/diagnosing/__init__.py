"""The labelled set of the diagnosis: real runs, healthy and with one known fault each, and a judge of the verdicts."""
