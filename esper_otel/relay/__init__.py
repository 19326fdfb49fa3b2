"""The relay: follows an event log and projects it to OpenTelemetry. The only part that imports OpenTelemetry."""

from esper_otel.relay import sdk_environment as _before_opentelemetry  # noqa: F401 - must come before its packages
