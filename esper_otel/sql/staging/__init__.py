"""Staging of logs for DuckDB: rows from lines, Parquet parts, worker processes."""
