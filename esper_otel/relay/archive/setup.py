"""Configuration of the archive: the relay's option, else ESPER_OTEL_ARCHIVE."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from esper_otel.archive.address import address_of
from esper_otel.relay.archive.pipeline import ArchivePipeline
from esper_otel.relay.console import say
from esper_otel.relay.pipeline import Context
from esper_otel.text.extras import first_missing, missing

VARIABLE: Final = "ESPER_OTEL_ARCHIVE"
PACKAGES: Final = ("duckdb", "obstore")


def archive_url(option: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Address of the archive that is asked for; empty for none.

    Raises:
        ValueError: it is no address of an archive, or the option is given and a package is missing.
    """
    text = (option or environment.get(VARIABLE, "")).strip()
    if not text:
        return ""
    try:
        address = address_of(text)
    except ValueError as error:
        raise ValueError(f"--archive ({VARIABLE}): {error}") from None
    if address.run:
        raise ValueError(f"--archive ({VARIABLE}): {address} names a run; give {address.url}, and the name by --run-id")
    if option and (package := first_missing(PACKAGES)):
        raise ValueError(f"--archive: {missing(package, 'archive')}")
    return address.url


def make(context: Context) -> ArchivePipeline | None:
    """Build the pipeline where an archive is asked for; without its packages that is reported and left out."""
    if not context.archive:
        return None
    if package := first_missing(PACKAGES):
        say(f"{VARIABLE}: {missing(package, 'archive')}; the run is not archived")
        return None
    return ArchivePipeline(context)
