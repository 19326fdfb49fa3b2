"""What a child process does in a test: apart, so that a spawned interpreter imports little."""

import esper_otel
from esper_otel.events import Decision


def emit_in_child(number: int) -> int:
    """Emit and shut down as code does that does not know that it is not the trainer."""
    esper_otel.emit(Decision(env_id=number))
    esper_otel.shutdown()
    return number
