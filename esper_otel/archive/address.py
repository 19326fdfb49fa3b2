"""Addresses of archives: ``s3://bucket/prefix`` holds runs, ``s3://bucket/prefix/run_id=NAME`` is one of them."""

from __future__ import annotations

import re
from os import PathLike, fspath
from typing import Final
from urllib.parse import quote, unquote

import msgspec

SCHEMES: Final = ("s3", "gs", "az", "file")
EVERY_RUN: Final = "*"

_ADDRESS: Final = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,3}}(.*)", re.DOTALL)
"""One slash as well: ``Path("s3://bucket")`` is written ``s3:/bucket``, and commands take runs as paths."""

_RUN: Final = "run_id="


class Address(msgspec.Struct, frozen=True):
    """An archive, or runs in it.

    Attributes:
        url: the archive, without a slash at its end.
        run: name of the run; ``*`` for every run, empty for the newest one.
    """

    url: str
    run: str = ""

    @property
    def is_local(self) -> bool:
        """True for a directory of this machine."""
        return self.url.startswith("file:")

    def of(self, run: str) -> Address:
        """The address of a run of the same archive."""
        return Address(self.url, run)

    def __str__(self) -> str:
        """The address as it is typed."""
        return f"{self.url}/{folder_of(self.run)}" if self.run else self.url


def is_address(text: str | PathLike[str]) -> bool:
    """Return True if ``text`` is the address of an archive, rather than a path."""
    return _ADDRESS.fullmatch(fspath(text)) is not None


def address_of(text: str | PathLike[str]) -> Address:
    """The archive or run that ``text`` means.

    Raises:
        ValueError: it is no address, or contains a user, a key or a query.
    """
    found = _ADDRESS.fullmatch(fspath(text))
    if found is None:
        raise ValueError(f"expected an address of an archive, such as s3://bucket/prefix or file:///path, not {text!s}")
    scheme, rest = found[1], found[2].strip("/")
    if "@" in rest.partition("/")[0] or "?" in rest or "#" in rest:
        raise ValueError(
            f"the address of an archive on {scheme}:// contains a user, a key or a query; give scheme, bucket and"
            " prefix, and the credentials by the variables of docs/guides/archive.md"
        )
    if not rest:
        raise ValueError(f"{scheme}:// names no bucket; give for example {scheme}://bucket/prefix")
    above, _, last = rest.rpartition("/")
    run = _name_of(last) if above else None
    prefix = f"{scheme}:///" if scheme == "file" else f"{scheme}://"
    return Address(f"{prefix}{rest}") if run is None else Address(f"{prefix}{above}", run)


def name_of(text: str | PathLike[str]) -> str | None:
    """Name of the run that an address means; None for an archive, and for a path."""
    return address_of(text).run or None if is_address(text) else None


def folder_of(run: str) -> str:
    """``run_id=NAME`` as it stands in keys: of the name letters, digits and ``_.-~`` as they are."""
    return f"{_RUN}{run if run == EVERY_RUN else quote(run, safe='')}"


def run_in(folder: str) -> str:
    """The name of the run with that folder; reverse of :func:`folder_of`."""
    return unquote(folder.removeprefix(_RUN))


def _name_of(segment: str) -> str | None:
    return run_in(segment) if segment.startswith(_RUN) and segment != _RUN else None
