"""The scrape endpoint in Prometheus' text format."""
