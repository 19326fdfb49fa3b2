"""The only place that builds events and passes them to ``esper_otel``: an observer of the training loop."""

from trainer.simic.emission.emitter import Emitter

__all__ = ["Emitter"]
