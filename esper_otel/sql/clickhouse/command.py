"""The command ``clickhouse``."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final

import typer

from esper_otel.sql.clickhouse.ddl import script
from esper_otel.sql.clickhouse.place import place_of
from esper_otel.text.terminal import printable

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")


def clickhouse(
    archive: Annotated[
        str,
        typer.Argument(metavar="ARCHIVE", help="s3:// or gs://BUCKET/PREFIX, or file:///DIR."),
    ],
    database: Annotated[str, typer.Option("--database", help="Database of the views; created if missing.")] = "esper",
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
    """Print the statements that create the views in ClickHouse, over the Parquet files of an archive.

    Pass them to 'clickhouse client', or to chDB. They hold no credentials, and read nothing until the views are asked.
    Run the command anew after an upgrade. Exit status 2: an argument is invalid; the message says how to correct it.
    """
    try:
        place = place_of(archive, _endpoint(archive) if endpoint is None else endpoint, collection)
        print(script(place, database), end="")
    except ValueError as error:
        print(f"esper-otel: {printable(str(error))}", file=sys.stderr)
        raise typer.Exit(2) from None


def _endpoint(archive: str) -> str:
    """The endpoint that the variables of AWS name, for an archive on S3."""
    if not archive.startswith("s3:"):
        return ""
    return next((value for name in _ENDPOINTS if (value := os.environ.get(name))), "")
