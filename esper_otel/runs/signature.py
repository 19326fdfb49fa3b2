"""The signature of a run's logs: their names, sizes and times, by which a reader notices that they changed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from esper_otel.log.layout import resolve


class Signature(NamedTuple):
    """Names, sizes and times of a run's logs as one text, which changes when they do, and their size in all."""

    text: str
    size_bytes: int


def signature_of(path: Path) -> Signature:
    """The signature of the logs at ``path`` now.

    Raises:
        FileNotFoundError: there is no log.
        OSError: the logs cannot be listed.
    """
    found, size = [], 0
    for source in resolve(path):
        for number in source.numbers():
            located = source.locate(number)
            if located is None:
                continue
            try:
                status = os.stat(located.path)  # noqa: PTH116  # one call for size and time
            except FileNotFoundError:
                continue
            except OSError as error:  # reported when it is read
                found.append(f"{located.path.name}:{error.errno}")
                continue
            found.append(f"{located.path.name}:{status.st_size}:{status.st_mtime_ns}")
            size += status.st_size
    return Signature(" ".join(found), size)
