"""Places from which ClickHouse reads an archive."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

import msgspec

from esper_otel.archive.address import address_of
from esper_otel.sql.views.clickhouse import literal

_PATTERN: Final = re.compile(r"[*?{}|]")
"""Characters that ClickHouse takes for a pattern in the path of a table function; nothing escapes them there."""

_ESCAPE: Final = re.compile("%")
"""Clients of object stores differ in what it means in a prefix."""

_FUNCTIONS: Final = {"s3": "s3", "gs": "s3", "file": "file"}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class Place(msgspec.Struct, frozen=True):
    """The archive as a table function names it.

    Attributes:
        function: ``s3`` or ``file``.
        url: the archive, without a slash at its end.
        collection: the named collection of the server with the credentials; empty for none.
    """

    function: str
    url: str
    collection: str = ""

    def read(self, pattern: str, form: str, columns: str) -> str:
        """SQL of the table function that reads the files that ``pattern`` means below the archive."""
        url, form, columns = literal(f"{self.url}/{pattern}"), literal(form), literal(columns)
        if self.collection:
            return f"{self.function}({self.collection}, url = {url}, format = {form}, structure = {columns})"
        return f"{self.function}({url}, {form}, {columns})"


def place_of(archive: str, endpoint: str = "", collection: str = "") -> Place:
    """The place of ``archive``.

    Args:
        archive: address of an archive.
        endpoint: URL of the server that speaks S3; empty for Amazon's or Google's own.
        collection: named collection with the credentials.

    Raises:
        ValueError: ClickHouse cannot read an archive there.
    """
    address = address_of(archive)
    scheme, _, rest = address.url.partition("://")
    if address.run:
        raise ValueError(f"give the archive, {address.url}, rather than a run: the views have all runs, by run_id")
    if scheme not in _FUNCTIONS:
        raise ValueError(f"{scheme}:// is not supported for ClickHouse, only s3://, gs:// and file://")
    path = unquote(rest) if scheme == "file" else rest
    if found := _PATTERN.search(path) or (_ESCAPE.search(path) if scheme != "file" else None):
        raise ValueError(f"ClickHouse cannot read an archive whose path contains {found[0]!r}: {address.url}")
    if collection and not _NAME.fullmatch(collection):
        raise ValueError(f"{collection!r} is no name of a named collection: give letters, digits and _, a letter first")
    if scheme == "file":
        if endpoint or collection:
            raise ValueError("an archive in a directory (file://) has neither an endpoint nor a named collection")
        return Place("file", path)
    if endpoint and not re.match(r"https?://[^/]", endpoint):
        raise ValueError(f"the endpoint must be a URL such as https://minio.example:9000, not {endpoint!r}")
    return Place(_FUNCTIONS[scheme], f"{endpoint.rstrip('/')}/{path}" if endpoint else address.url, collection)
