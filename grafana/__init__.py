"""Grafana dashboards as code: built from the registry of signals and the table of alerts."""

import warnings

with warnings.catch_warnings():
    # The SDK recommends schema v2 on import, which Grafana's file provisioning does not take.
    warnings.filterwarnings("ignore", message="Prefer using dashboardv2", category=DeprecationWarning)
    from grafana_foundation_sdk.builders import dashboard, loki  # noqa: F401
