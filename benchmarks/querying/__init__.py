"""Times of all views over archived runs, in DuckDB and in ClickHouse."""
