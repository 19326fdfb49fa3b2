"""The command ``clickhouse``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from esper_otel.sql.clickhouse import archive as of_archive
from esper_otel.sql.clickhouse import live as of_stream
from esper_otel.sql.clickhouse.creating import script
from esper_otel.sql.clickhouse.place import place_of
from esper_otel.text.terminal import printable

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def clickhouse(
    archive: Annotated[
        str,
        typer.Argument(metavar="ARCHIVE", help="s3:// or gs://BUCKET/PREFIX, or file:///DIR.", show_default=False),
    ] = "",
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Instead of an archive: the tables of the collector's exporter, and the views there."
        ),
    ] = False,
    days: Annotated[
        int, typer.Option("--days", min=0, help="With --live: days after which the tables drop rows; 0 for never.")
    ] = 7,
    database: Annotated[
        str,
        typer.Option("--database", help="Database of the views; created if missing. Default: esper, or esper_live."),
    ] = "",
    endpoint: Annotated[
        str | None,
        typer.Option(
            "--endpoint",
            help="URL of the server of s3:// if not Amazon's. Default: AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL.",
        ),
    ] = None,
    collection: Annotated[
        str, typer.Option("--collection", help="Named collection of the ClickHouse server that has the credentials.")
    ] = "",
) -> None:
    """Print the statements that create the views in ClickHouse, over the files of an archive or the live stream.

    Pass them to 'clickhouse client', or to chDB. They hold no credentials, and read nothing until the views are asked.
    Run the command anew after an upgrade. Exit status 2: an argument is invalid; the message says how to correct it.
    """
    try:
        if bool(archive) == live:
            raise ValueError("give an archive such as s3://telemetry/runs, or --live for the collector's live stream")
        if live:
            print(script(of_stream.statements(database or of_stream.DATABASE, days)), end="")
            return
        place = place_of(archive, _endpoint(archive) if endpoint is None else endpoint, collection)
        print(script(of_archive.statements(place, database or of_archive.DATABASE)), end="")
    except ValueError as error:
        print(f"esper-otel: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None


def _endpoint(archive: str) -> str:
    """The endpoint that the variables of AWS name, for an archive on S3."""
    if not archive.startswith("s3:"):
        return ""
    return next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")
