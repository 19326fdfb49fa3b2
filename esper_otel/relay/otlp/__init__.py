"""Export by OTLP: spans, log events, metrics."""
