"""The labelled set of the diagnosis: real runs, healthy and with one known fault each, and what is said of them."""
