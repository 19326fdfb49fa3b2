"""Encoding of events and their attributes as OTLP protobuf bytes."""
