"""The optional part in C: a queue that copies the values of events and encodes them without the interpreter's lock.

Nothing needs it. Where no compiler built it, or its lines would differ from those of the encoder in Python, or
``ESPER_OTEL_NATIVE=0`` switches it off, events take the road in Python, which defines every byte.
"""

from esper_otel.native.loading import core, state

__all__ = ["core", "state"]
