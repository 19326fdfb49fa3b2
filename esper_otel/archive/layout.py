"""Layout of an archive: keys, and the description that makes files valid (docs/reference/archive-format.md).

Nothing is changed in place but ``run.json`` and the index. The files of a segment are named after their content; its
description, written last, names them. What is not named by a description is never read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from esper_otel.archive.address import folder_of, run_in

FORMAT: Final = 1
SEGMENTS: Final = "_segments"
INDEX: Final = "_index.msgpack"

_PART: Final = re.compile(
    rf"{SEGMENTS}/(?P<run>run_id=[^/]+)/rank=(?P<rank>\d{{1,9}})/(?P<lane>[^/]+)-(?P<segment>\d{{6,12}})"
    r"-(?P<end>\d{12,18})\.json"
)
_FILES: Final = re.compile(r"(?:[a-z0-9_]+\.\d{6,12}\.[0-9a-f]{32}\.parquet\n)*")


class Stored(msgspec.Struct, frozen=True):
    """One Parquet file.

    Attributes:
        name: ``TABLE.SEGMENT.HASH.parquet`` in the folder of its rank; the hash is the start of its content's SHA-256.
        size: bytes.
    """

    name: str
    size: int

    @property
    def hash(self) -> str:
        """The hash in its name."""
        return self.name.split(".")[-2]


class Span(msgspec.Struct, frozen=True):
    """Contents of a segment, as far as they tell that a query finds nothing in it.

    Attributes:
        run_ids: which runs its lines name; the empty text for lines without a name.
        types: which event types they have.
        first_us: earliest time of an event, Unix time in microseconds; None where no line has a time.
        last_us: latest time of an event.
    """

    run_ids: tuple[str, ...]
    types: tuple[str, ...]
    first_us: int | None = None
    last_us: int | None = None


class Resume(msgspec.Struct, frozen=True):
    """State that reading on behind the segment needs; plain JSON.

    Attributes:
        position: position in the log, as its reader has it.
        duplicates: the last events read.
        arms: the arm of an A/B run in training.
    """

    position: Any
    duplicates: Any
    arms: dict[str, str]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Description of one archived segment.

    Attributes:
        format: version of this layout.
        run: name of the run.
        rank: rank whose log it is.
        source: name of the log.
        segment: number of the segment, from 1.
        end: byte behind its last line, uncompressed.
        closed: whether nothing more comes; the last segment of a run is archived while it may still grow.
        head: hash of the first line of the log, by which two runs of one name are told apart; empty where it is gone.
        lines: lines that it has.
        lost: stretches that gave no event, by reason.
        span: contents; None where they are too many to list.
        layout: version of the columns of all tables.
        tables: the files by table.
        fingerprints: fingerprint of the columns of each of these tables.
        progress: summary of the log from its start to the end of this segment, for the list of runs, as MessagePack.
        resume: state to go on from.
        writer: version of the program.
    """

    format: int = FORMAT
    run: str
    rank: int
    source: str
    segment: int
    end: int
    closed: bool
    head: str
    lines: int
    lost: dict[str, int]
    span: Span | None
    layout: int
    tables: dict[str, list[Stored]]
    fingerprints: dict[str, str]
    progress: bytes
    resume: Resume
    writer: str

    @property
    def key(self) -> str:
        """Key of the description."""
        return part_key(self.run, self.rank, self.source, self.segment, self.end)

    @property
    def folder(self) -> str:
        """Folder of its files."""
        return data_folder(self.run, self.rank)


class Place(msgspec.Struct, frozen=True, order=True):
    """A segment's description as its key tells it."""

    run: str
    rank: int
    lane: str
    segment: int
    end: int


_DECODER: Final = msgspec.json.Decoder(Part)


def decoded(content: bytes, key: str) -> Part:
    """The description that ``content`` is.

    Raises:
        ValueError: it is none, or of a later version; the message names the object.
    """
    part = described(_DECODER, content, key, "an archived segment")
    if part.key != key:
        raise ValueError(f"{key} describes another segment, {part.key}")
    check_names((stored for files in part.tables.values() for stored in files), key)
    return part


class Described(Protocol):
    """A description that tells its version."""

    @property
    def format(self) -> int:
        """Version of the layout."""

    @property
    def writer(self) -> str:
        """Version of the program that wrote it."""


_D = TypeVar("_D", bound=Described)


def described(decoder: msgspec.json.Decoder[_D], content: bytes, key: str, what: str) -> _D:
    """The description of ``what`` in the object ``key``.

    Raises:
        ValueError: it is none, or of a later version; the message names the object.
    """
    try:
        found = decoder.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{key} is no description of {what}: {error}") from None
    if found.format != FORMAT:
        raise ValueError(f"{key} was written by a later version of esper-otel ({found.writer}); upgrade to read it")
    return found


def check_names(files: Iterable[Stored], key: str) -> None:
    """Return if all files have names that this library gives: nobody's description leads to other objects.

    Raises:
        ValueError: one has another; the message names the description, ``key``.
    """
    names = [f"{stored.name}\n" for stored in files]
    if not _FILES.fullmatch("".join(names)):  # at once: an archive may have a million
        name = next(name for name in names if not _FILES.fullmatch(name))
        raise ValueError(f"{key} names the file {name[:-1]!r}, which esper-otel never writes")


def part_key(run: str, rank: int, source: str, segment: int, end: int) -> str:
    """Key of the description of a segment."""
    return f"{run_folder(run)}/rank={rank}/{lane_of(source)}-{segment:06d}-{end:012d}.json"


def run_folder(run: str) -> str:
    """Folder of all descriptions of a run."""
    return f"{SEGMENTS}/{folder_of(run)}"


def data_folder(run: str, rank: int) -> str:
    """Folder of the Parquet files of a rank."""
    return f"{folder_of(run)}/rank={rank}"


def run_file(run: str) -> str:
    """Key of the copy of ``run.json``."""
    return f"{run_folder(run)}/run.json"


def run_of_file(key: str) -> str | None:
    """The run whose ``run.json`` has that key; None for another object."""
    parts = key.split("/")
    return run_in(parts[1]) if len(parts) == 3 and parts[0] == SEGMENTS and parts[2] == "run.json" else None


def lane_of(source: str) -> str:
    """Name of a log in keys."""
    return quote(source.split(".jsonl")[0], safe="")


def place_of(key: str) -> Place | None:
    """The segment that a key means; None for another object."""
    found = _PART.fullmatch(key)
    if found is None:
        return None
    return Place(run_in(found["run"]), int(found["rank"]), found["lane"], int(found["segment"]), int(found["end"]))


def file_name(table: str, segment: int, content_hash: str) -> str:
    """Name of a Parquet file; ``content_hash`` in hexadecimal digits."""
    return f"{table}.{segment:06d}.{content_hash[:32]}.parquet"
