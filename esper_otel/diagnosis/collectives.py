"""Rules about collectives, from dumps of the Flight Recorder and files of NCCL Inspector in the run's directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from esper_otel.collectives.flight import Dump, Entry, dumps_in
from esper_otel.collectives.inspector import latest
from esper_otel.collectives.matching import mismatch, not_entered
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.ranks import LAG
from esper_otel.diagnosis.subject import Subject, clock

SHOWN: Final = 8
"""Ranks that a finding names one by one."""

_LIBRARY: Final = f"{os.sep}torch{os.sep}"


def waiting(run: Subject) -> Iterator[Finding]:
    """Ranks wait in a collective that another one did not enter."""
    found = not_entered(_dumps(run)[0])
    if found is None:
        return
    last = found.last[found.missing[0]]
    where = f"it is at {_place(last)}" if last is not None and last.frames else "it is not recorded where"
    others = f"; the others wait at {_place(found.entry)}" if found.entry.frames else ""
    yield Finding(
        kind="collective_not_entered",
        severity=Grade.CRITICAL,
        confidence=Confidence.HIGH,
        sentence=f"{_named(found.missing)} did not enter {_call(found.entry, found.sequence)} of {found.group};"
        f" {_named(found.waiting).lower()} had waited in it for {found.late_s:.0f} s.",
        evidence=[
            Figure(
                f"last collective of rank {rank}", "none" if entry is None else _call(entry, entry.collective_seq_id)
            )
            for rank, entry in list(found.last.items())[:SHOWN]
        ],
        when=f"since {_clock(found.entry.time_created_ns)}",
        who={"rank": _listed(found.missing)},
        cause="it has made no collective yet" if last is None else f"of its last call, {where}{others}",
        stack=[frame.text for frame in last.frames] if last is not None else [],
    )


def differing(run: Subject) -> Iterator[Finding]:
    """Ranks entered one collective with different operations, sizes or types."""
    found = mismatch(_dumps(run)[0])
    if found is None:
        return
    odd = found.entries[found.odd[0]]
    yield Finding(
        kind="collective_mismatch",
        severity=Grade.CRITICAL,
        confidence=Confidence.HIGH,
        sentence=f"{_named(found.odd)} entered collective {found.sequence} of {found.group} with another {found.what}"
        " than the others.",
        evidence=[Figure(f"{found.what} of rank {n}", value) for n, value in list(found.values.items())[:SHOWN]],
        when=f"at {_clock(odd.time_created_ns)}",
        who={"rank": _listed(found.odd)},
        cause=f"it was called at {_place(odd)}" if odd.frames else "",
        stack=[frame.text for frame in odd.frames],
    )


def late(run: Subject) -> Iterator[Finding]:
    """By the times of NCCL, the others wait for one rank in their collectives."""
    found = latest(run.directory) if run.directory is not None else None
    if found is not None and found.share >= LAG:
        yield Finding(
            kind="straggler",
            severity=Grade.WARNING,
            confidence=Confidence.HIGH,
            sentence=f"Rank {found.rank} enters each collective {1e3 * found.lag_s:.3g} ms after the others, by the"
            " times of NCCL; they wait for it.",
            evidence=[
                Figure("time that the others lose", 100 * found.share, "% of the rest"),
                Figure("collectives", found.collectives),
            ],
            who={"rank": str(found.rank)},
        )


def unreadable(run: Subject) -> Iterator[Finding]:
    """Dumps of the Flight Recorder that are not what PyTorch writes."""
    for name, reason in sorted(_dumps(run)[1].items())[:SHOWN]:
        yield Finding(
            kind="dump_unreadable",
            severity=Grade.INFO,
            confidence=Confidence.CERTAIN,
            sentence=f"{name} was not read as a dump of the Flight Recorder: {reason}.",
        )


def _dumps(run: Subject) -> tuple[list[Dump], dict[str, str]]:
    """Dumps of the present session; those of an earlier one tell nothing of this."""
    if run.directory is None:
        return [], {}
    began = run.started_at
    return dumps_in(run.directory, int(began.replace(tzinfo=UTC).timestamp() * 1e9) if began is not None else 0)


def _call(entry: Entry, sequence: int) -> str:
    return f"{entry.name} {sequence}"


def _named(ranks: list[int]) -> str:
    return f"{'Rank' if len(ranks) == 1 else 'Ranks'} {_listed(ranks)}"


def _listed(ranks: list[int]) -> str:
    more = f" and {len(ranks) - SHOWN} more" if len(ranks) > SHOWN else ""
    return f"{', '.join(map(str, ranks[:SHOWN]))}{more}"


def _place(entry: Entry) -> str:
    """The innermost frame of its call that is not PyTorch's own."""
    return next((frame for frame in entry.frames if _LIBRARY not in frame.filename), entry.frames[0]).text


def _clock(nanoseconds: int) -> str:
    return clock(datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000))
