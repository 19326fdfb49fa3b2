"""Merged files: the rows of one table of many small segments in one file, beside the files of each of them.

A query over thousands of short runs takes a millisecond and more for each file that it opens. A set of merged files
saves that where a query is about all of its segments. It is derived: the segments keep their files, and whatever is
missing, outdated or damaged is read from those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final

import msgspec

from esper_otel.archive.catalogue import content_or_nothing, in_parallel
from esper_otel.archive.layout import FORMAT, Stored, check_names, described
from esper_otel.archive.store import Store

MERGED: Final = "_merged"
_SET: Final = re.compile(rf"{MERGED}/[0-9a-f]{{32}}\.json")


class MergedSet(msgspec.Struct, frozen=True, kw_only=True):
    """Description of merged files.

    Attributes:
        format: version of this layout.
        segments: keys of the descriptions of all segments whose rows the files have.
        layout: version of the columns of all tables.
        tables: the file of each table that one of the segments has.
        fingerprints: fingerprint of the columns of each of these tables.
        writer: version of the program.
    """

    format: int = FORMAT
    segments: tuple[str, ...]
    layout: int
    tables: dict[str, Stored]
    fingerprints: dict[str, str]
    writer: str

    @property
    def content(self) -> bytes:
        """The description as it is stored."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1)

    @property
    def key(self) -> str:
        """Key of the description."""
        return f"{MERGED}/{hashlib.sha256(self.content).hexdigest()[:32]}.json"

    def has(self, table: str, fingerprint: str) -> bool:
        """Return True if there is a file of that table, with these columns."""
        return table in self.tables and self.fingerprints.get(table) == fingerprint


_DECODER: Final = msgspec.json.Decoder(MergedSet)


def sets_in(store: Store, tell: Callable[[str], object]) -> dict[str, MergedSet]:
    """The sets of an archive by their keys, in their order; those all of whose files are there.

    Raises:
        ArchiveError: the archive cannot be read.
    """
    sizes = {item.key: item.size for item in store.items(MERGED)}
    keys = sorted(key for key in sizes if _SET.fullmatch(key))
    found = {}
    for key, content in zip(keys, in_parallel(partial(content_or_nothing, store), keys), strict=True):
        if content:
            try:
                each = _decoded(content, key)
            except ValueError as error:
                tell(f"{error}; the files of each segment are read instead")
                continue
            if all(sizes.get(f"{MERGED}/{stored.name}") == stored.size for stored in each.tables.values()):
                found[key] = each
    return found


def valid_sets(sets: Mapping[str, MergedSet], current: Collection[str]) -> dict[str, MergedSet]:
    """The sets that count: all of whose segments are ``current``, and none of whose is in a set of a later key too.

    No segment is in two of them.
    """
    whole = {key: each for key, each in sets.items() if all(segment in current for segment in each.segments)}
    last = {segment: key for key, each in sorted(whole.items()) for segment in each.segments}
    return {key: each for key, each in whole.items() if all(last[segment] == key for segment in each.segments)}


def _decoded(content: bytes, key: str) -> MergedSet:
    found = described(_DECODER, content, key, "merged files")
    check_names(found.tables.values(), key)
    return found
