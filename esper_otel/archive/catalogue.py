"""The runs of an archive: which segments of them are there, and their descriptions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Final

import msgspec

from esper_otel.archive import index
from esper_otel.archive.address import Address
from esper_otel.archive.index import Entry
from esper_otel.archive.layout import SEGMENTS, Part, Place, decoded, place_of, run_folder, run_of_file
from esper_otel.archive.store import Item, Store

REQUESTS: Final = 32
"""Requests at a time: an answer takes 20 to 100 ms, most of it waiting."""

Tell = Callable[[str], object]


class ArchivedRun(msgspec.Struct):
    """One run.

    Attributes:
        name: its name.
        parts: its segments, those of a log in their order.
        run_json: content of its ``run.json``; empty if there is none.
    """

    name: str
    parts: list[Part]
    run_json: bytes = b""

    @property
    def first_us(self) -> int:
        """Time of its first event, Unix time in microseconds; 0 if unknown."""
        return min((part.span.first_us or 0 for part in self.parts if part.span is not None), default=0)


def runs_in(store: Store, address: Address, tell: Tell) -> list[ArchivedRun]:
    """The runs that ``address`` means, by name; of an archive without a run its newest.

    Raises:
        FileNotFoundError: there is none.
        ArchiveError: the archive cannot be read.
    """
    is_one = bool(address.run)
    items = {item.key: item for item in store.items(run_folder(address.run) if is_one else SEGMENTS)}
    current = _current(items)
    told = {run: key for key in items if (run := run_of_file(key)) is not None}
    keys = [*chain.from_iterable(current.values()), *(told[run] for run in told if run in current)]
    contents = _contents(store, {key: items[key] for key in keys}, keep=not is_one)
    found = [
        ArchivedRun(run, list(_parts(keys, contents, tell)), contents.get(told.get(run, ""), b""))
        for run, keys in sorted(current.items())
    ]
    found = [run for run in found if run.parts]
    if not found:
        raise FileNotFoundError(
            f"{address} holds no run; 'esper-otel runs {address.url}' lists those of the archive"
            if is_one
            else f"{address.url} holds no run: give the address of an archive that 'esper-otel relay --archive' or"
            " 'esper-otel compact --to' wrote"
        )
    return found if is_one or address.is_every else [max(found, key=lambda run: (run.first_us, run.name))]


def run_names(store: Store) -> list[str]:
    """Names of all runs, without reading any."""
    places = (place_of(item.key) for item in store.items(SEGMENTS))
    return sorted({place.run for place in places if place is not None})


def run_json_of(store: Store, run: str) -> bytes:
    """Content of the ``run.json`` of a run; empty if there is none.

    Raises:
        ArchiveError: it cannot be read.
    """
    return content_or_nothing(store, f"{run_folder(run)}/run.json")


def content_or_nothing(store: Store, key: str) -> bytes:
    """Content of an object; empty where it went since the archive was listed.

    Raises:
        ArchiveError: it cannot be read.
    """
    try:
        return store.get(key)
    except FileNotFoundError:
        return b""


def current_keys(keys: Iterable[str]) -> list[str]:
    """Of the descriptions among ``keys`` the valid ones: of each segment the one that reaches furthest."""
    return [*chain.from_iterable(_current(keys).values())]


def in_parallel(function: Callable[[str], bytes], keys: Collection[str]) -> Iterator[bytes]:
    """The results of ``function`` in the order of ``keys``; the first failure ends it."""
    with ThreadPoolExecutor(min(REQUESTS, max(len(keys), 1)), thread_name_prefix="esper-archive") as threads:
        try:
            yield from threads.map(function, keys)
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _current(keys: Iterable[str]) -> dict[str, list[str]]:
    """The valid descriptions of each run: of a segment the one that reaches furthest, logs in their order."""
    furthest: dict[tuple[str, int, str, int], tuple[Place, str]] = {}
    for key in keys:
        place = place_of(key)
        if place is not None:
            segment = place.run, place.rank, place.lane, place.segment
            furthest[segment] = max(furthest.get(segment, (place, key)), (place, key))
    found: dict[str, list[str]] = {}
    for place, key in sorted(furthest.values()):
        found.setdefault(place.run, []).append(key)
    return found


def _contents(store: Store, items: Mapping[str, Item], *, keep: bool) -> dict[str, bytes]:
    """The content of each object, from the index where it has it; ``keep``: write the index if much was missing.

    An object that went meanwhile, replaced by one that reaches further, is left out.
    """
    known = index.load(store) if keep and len(items) >= index.WORTH else {}
    found = {key: known[key] for key, item in items.items() if key in known and known[key].tag == item.tag}
    missing = [key for key in items if key not in found]
    for key, content in zip(missing, in_parallel(partial(content_or_nothing, store), missing), strict=True):
        if content:
            found[key] = Entry(items[key].tag, content)
    if keep and len(missing) >= index.WORTH:
        index.save(store, found)
    return {key: entry.content for key, entry in found.items()}


def _parts(keys: Iterable[str], contents: Mapping[str, bytes], tell: Tell) -> Iterator[Part]:
    for key in keys:
        if key in contents:
            try:
                yield decoded(contents[key], key)
            except ValueError as error:
                tell(f"{error}; its events are left out")
