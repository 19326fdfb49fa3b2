"""The relay: follows an event log and projects it to OpenTelemetry. The only part that imports OpenTelemetry."""
