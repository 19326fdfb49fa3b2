"""The views in ClickHouse, over the Parquet files of an archive."""
