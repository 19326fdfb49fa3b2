"""The Parquet files that a query reads: those that the runs have, and new ones of what was logged since."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import duckdb

from esper_otel.runs.facts import Facts
from esper_otel.runs.index import MIN_RUNS, RunIndex
from esper_otel.runs.places import Run
from esper_otel.runs.signature import Signature, signature_of
from esper_otel.sql.selection import Selection, selection_of
from esper_otel.sql.staging import parts
from esper_otel.sql.staging.gather import Files, Unread, gather
from esper_otel.sql.views.tables import fingerprint


def files_of(
    runs: Sequence[Run],
    scratch: Path,
    wanted: frozenset[str],
    query: str | None,
    connection: duckdb.DuckDBPyConnection,
    tell: Callable[[str], object],
    *,
    all_rejected: bool = True,
) -> tuple[Files, Counter[str]]:
    """Parquet files by table, those that are made now in ``scratch``, and how many stretches gave no event, by reason.

    Args:
        runs: the runs.
        scratch: directory of temporary files.
        wanted: names of the tables.
        query: what will be asked, and nothing else; None when that is not known.
        connection: database that makes the files.
        tell: called with a sentence for people where Parquet files cannot be used and the log is read instead.
        all_rejected: as for :class:`~esper_otel.sql.staging.gather.Unread`.

    Raises:
        ValueError: a directory holds Parquet files of another contract and no log to read instead.
        OSError: a file cannot be read or written.
    """
    files: Files = defaultdict(list)
    lost: Counter[str] = Counter()
    logs: list[tuple[Run, parts.Manifest, Signature]] = []
    for run in runs:
        stored = _stored(run, tell)
        for table, paths in stored.paths(run.parquet).items():
            files[table] += paths
        if run.path is not None and (now := signature_of(run.path)).text != stored.signature:
            logs.append((run, stored, now))
        else:
            lost.update(stored.lost)
    index = RunIndex([run.path for run, _, _ in logs if run.path is not None and run.path.is_dir()])
    facts = [_facts(index, *log) for log in logs]
    selection = selection_of(query) if query is not None and len(logs) >= MIN_RUNS else None
    tables = _tables(selection, wanted, [(log[0], fact) for log, fact in zip(logs, facts, strict=True)])
    unread = [
        Unread(run, stored, needed, "" if stored.positions else now.text, now.size_bytes, all_rejected)
        for (run, stored, now), needed in zip(logs, tables, strict=True)
        if needed
    ]
    for fact, needed in zip(facts, tables, strict=True):
        if fact is not None and not needed:
            lost.update(fact.lost)
    for table, paths in gather(unread, scratch, connection, index, lost).items():
        files[table] += paths
    index.save()
    return files, lost


def _stored(run: Run, tell: Callable[[str], object]) -> parts.Manifest:
    """Part of a run that is in Parquet; nothing when it cannot be used and the log can be read again."""
    try:
        manifest = parts.load(run.parquet)
    except (ValueError, OSError) as error:
        if run.path is None:
            raise
        tell(f"{error}; the log is read instead")
        manifest = None
    if manifest is not None and manifest.fingerprint != fingerprint():
        if run.path is None:
            raise ValueError(f"{run.parquet} was written under another contract and its log is not there to read")
        manifest = None
    return manifest or parts.Manifest(fingerprint())


def _facts(index: RunIndex, run: Run, stored: parts.Manifest, now: Signature) -> Facts | None:
    return None if run.path is None or stored.positions else index.facts(run.path, now.text)


def _tables(
    selection: Selection | None, wanted: frozenset[str], runs: Sequence[tuple[Run, Facts | None]]
) -> list[frozenset[str]]:
    return [wanted] * len(runs) if selection is None else selection.tables_of(runs)
