"""Queries from the registry: Prometheus, Loki and Tempo."""
