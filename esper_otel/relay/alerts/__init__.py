"""Alerts without Prometheus: the relay has the run diagnosed while it goes on, writes findings to the log and notifies.

The rules and limits are those of ``esper-otel diagnose``, which are those of the alerts (:mod:`esper_otel.alerts`).
"""
