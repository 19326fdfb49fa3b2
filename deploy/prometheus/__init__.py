"""Alerting and recording rules for Prometheus, their promtool tests and the runbook, all from one table."""
