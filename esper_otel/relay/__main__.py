"""``python -m esper_otel.relay RUN``: the relay as a training process starts it."""

import sys

from esper_otel.text.extras import missing


def main() -> None:
    """Run the relay; exit status 2 when a package that it needs is not installed."""
    try:
        import typer

        from esper_otel.relay.command import relay
    except ModuleNotFoundError as error:
        print(f"esper-otel relay: {missing(error.name or 'a package', 'relay')}", file=sys.stderr)
        raise SystemExit(2) from None
    typer.run(relay)


if __name__ == "__main__":
    main()
