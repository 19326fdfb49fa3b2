"""``python -m esper_otel.relay RUN``: how a training process starts its relay."""

import typer

from esper_otel.relay.command import relay

if __name__ == "__main__":
    typer.run(relay)
