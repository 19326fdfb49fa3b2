"""Runs of an archive, for the list of runs and for whoever asks what ``run.json`` says."""

from __future__ import annotations

import json
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.archive.address import Address, address_of, is_address
from esper_otel.archive.catalogue import ArchivedRun, run_json_of, run_names, runs_in
from esper_otel.archive.store import Store
from esper_otel.log import manifest
from esper_otel.log.layout import Series, resolve
from esper_otel.log.reading.standing import RUNNING
from esper_otel.runs.entry import Entry, Listed, Place
from esper_otel.runs.reading import told_by
from esper_otel.runs.summary import Progress

Tell = Callable[[str], object]

_PROGRESS: Final = msgspec.msgpack.Decoder(Progress)


class ArchivedRuns:
    """The runs that an address means; of an archive all of them.

    Attributes:
        runs: name, address and entry of each.
    """

    def __init__(self, text: str | PathLike[str], tell: Tell) -> None:
        """Read the archive.

        Raises:
            FileNotFoundError: there is none.
            ArchiveError: the archive cannot be read.
        """
        address = address_of(text)
        found = runs_in(Store(address), address if address.run else address.of_every_run, tell)
        self.runs = [(run.name, str(address.of(run.name)), _entry(run)) for run in found]
        self._entries = {name: entry for name, _, entry in self.runs}

    def entry(self, name: str) -> Entry:
        """The entry of a run of :attr:`runs`."""
        return self._entries[name]

    def column(self, _: str) -> dict[str, Any]:
        """Nothing: the entries are at hand."""
        return {}

    def has_column(self, _: str) -> bool:
        """False: the entries tell."""
        return False


def addresses_below(text: str | PathLike[str]) -> list[str]:
    """The address of every run of an archive; of one run its own.

    Raises:
        FileNotFoundError: the archive holds no run.
        ArchiveError: the archive cannot be read.
    """
    address = address_of(text)
    if address.run:
        return [str(address)]
    names = run_names(Store(address))
    if not names:
        raise FileNotFoundError(f"{address.url} holds no run")
    return [str(address.of(name)) for name in names]


def content_of(run: str | PathLike[str], tell: Tell) -> dict[str, Any]:
    """Content of the ``run.json`` of a run; empty where it has none or it cannot be read, which ``tell`` gets."""
    if is_address(run):
        return _archived_content(address_of(run), tell)
    directory = directory_of(Path(run))
    return manifest.read_or_tell(directory, tell) if directory is not None else {}


def directory_of(run: Path) -> Path | None:
    """The directory of a run on this machine; None for a single file, Parquet files alone, and an archived run."""
    if is_address(run):
        return None
    try:
        source = resolve(run)[0]
    except FileNotFoundError:
        return None
    return source.directory if isinstance(source, Series) else None


def name_of(run: str | PathLike[str]) -> str:
    """Name of a run for people: of its directory or file, or the one that it has in its archive."""
    if not is_address(run):
        return Path(run).resolve().name
    address = address_of(run)
    return address.run or address.url.rpartition("/")[2]


def _archived_content(address: Address, tell: Tell) -> dict[str, Any]:
    store = Store(address)
    if not address.run:
        found = runs_in(store, Address(address.url), tell)[0]
        return _decoded(found.run_json, found.name, tell)
    return _decoded(run_json_of(store, address.run), address.run, tell)


def _decoded(text: bytes, name: str, tell: Tell) -> dict[str, Any]:
    try:
        content = json.loads(text) if text else {}
    except (ValueError, RecursionError) as error:
        tell(f"the archived run.json of {name} is not JSON: {error}; what it says of the run is left out")
        return {}
    return content if isinstance(content, dict) else {}


def _entry(run: ArchivedRun) -> Entry:
    from esper_otel.runs.merging import merged
    from esper_otel.runs.summing import Summing  # takes as long to import as a list of known runs

    last = {part.source: part for part in run.parts}  # the summary of a log is in its last segment
    progress = merged(_PROGRESS.decode(part.progress) for part in last.values())
    problems: list[str] = []
    told = told_by(_decoded(run.run_json, run.name, problems.append), problems)
    if told.status == RUNNING:  # nobody can ask its lock: the log alone tells how it stands
        told = msgspec.structs.replace(told, status="")
    listed = Listed(Place(0, 0, 0), Summing(progress).summary(told.world_size), told, (), msgspec.Raw(b"\xc0"))
    return Entry("", (), -1, None, None, {}, True, listed)
