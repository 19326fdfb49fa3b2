"""The diagnosis of a run: a ranked list of findings, each with its evidence, from the SQL views over its log.

Rules are functions from a run to findings; their limits are those of the fields and of the alerts, their texts those of
:mod:`esper_otel.alerts.kinds`.
"""
