"""Addresses of archives: ``s3://bucket/prefix`` holds runs, ``s3://bucket/prefix/run_id=NAME`` is one of them."""

from __future__ import annotations

import re
from os import PathLike, fspath
from typing import Final
from urllib.parse import quote, unquote

import msgspec

SCHEMES: Final = ("s3", "gs", "az", "file")

_ADDRESS: Final = re.compile(rf"({'|'.join(SCHEMES)}):/{{1,3}}(.*)", re.DOTALL)
"""One slash as well: ``Path("s3://bucket")`` is written ``s3:/bucket``, and commands take runs as paths."""

_RUN: Final = "run_id="
_EVERY: Final = f"{_RUN}*"


class Address(msgspec.Struct, frozen=True):
    """An archive, or runs in it.

    Attributes:
        url: the archive, without a slash at its end.
        run: name of the run; empty for the newest one.
        is_every: whether it means every run: ``run_id=*``.
    """

    url: str
    run: str = ""
    is_every: bool = False

    @property
    def is_local(self) -> bool:
        """True for a directory of this machine."""
        return self.url.startswith("file:")

    def of(self, run: str) -> Address:
        """The address of a run of the same archive."""
        return Address(self.url, run)

    @property
    def of_every_run(self) -> Address:
        """The address of every run of the same archive."""
        return Address(self.url, is_every=True)

    def __str__(self) -> str:
        """The address as it is typed."""
        folder = f"/{_EVERY}" if self.is_every else f"/{folder_of(self.run)}" if self.run else ""
        return f"{self.url}{folder}"


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
    prefix = f"{scheme}:///" if scheme == "file" else f"{scheme}://"
    if above and last == _EVERY:
        return Address(f"{prefix}{above}", is_every=True)
    if above and last.startswith(_RUN) and last != _RUN:
        return Address(f"{prefix}{above}", run_in(last))
    return Address(f"{prefix}{rest}")


def folder_of(run: str) -> str:
    """``run_id=NAME`` as it stands in keys: of the name letters, digits and ``_.-~`` as they are."""
    return f"{_RUN}{quote(run, safe='')}"


def run_in(folder: str) -> str:
    """The name of the run with that folder; reverse of :func:`folder_of`."""
    return unquote(folder.removeprefix(_RUN))
