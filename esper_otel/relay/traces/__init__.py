"""Spans of a run: one trace a round, one a seed, one for the run."""

from esper_otel.relay.traces.projector import TraceProjector

__all__ = ["TraceProjector"]
