"""A long run, archived through kills of its relay and an outage of the store, compared with its log row by row."""
