"""A dashboard over all archived runs, for the ClickHouse data source; no other part of the stack needs it."""
