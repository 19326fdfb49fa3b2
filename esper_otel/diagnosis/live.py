"""The relay's process that diagnoses a run while it goes on: ``python -m esper_otel.diagnosis.live RUN SCRATCH``.

Every line of its input asks for the findings of now; the answer is one line of JSON. Each time it reads only what the
log gained, into tables in memory that hold the last hour of the present training process. It is a process of its own
with a low priority: rules over a long log take seconds of a core, which the relay and the training do not lack then.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from esper_otel.alerts.kinds import BY_NAME
from esper_otel.diagnosis.diagnose import LAST_SEEN, judged
from esper_otel.diagnosis.finding import Confidence, Figure, Finding, Grade
from esper_otel.diagnosis.subject import VIEWS, Subject, moment_of, subject_of
from esper_otel.log import manifest
from esper_otel.runs.places import Run, run_of
from esper_otel.sql.catalogue import in_order, tables_under
from esper_otel.sql.connect import open_database
from esper_otel.sql.plain import plain
from esper_otel.sql.staging import parts
from esper_otel.sql.staging.stage import Stage
from esper_otel.sql.views.columns import quoted
from esper_otel.sql.views.tables import TABLES, fingerprint

WINDOW: Final = timedelta(hours=1)
"""Part of the run that is judged, as by ``diagnose --since 1h``: a fault of the morning is no news in the evening."""

SLACK: Final = timedelta(minutes=15)
"""Tables are made anew, without their old rows, once they hold so much more than the window."""

MEMORY_LIMIT: Final = "512MB"
NICE: Final = 10

_LIFE: Final = frozenset({"run_ended", "training_started"})
_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class LiveDiagnosis:
    """The findings of a run that grows."""

    def __init__(self, run: Path, scratch: Path, memory_limit: str = MEMORY_LIMIT) -> None:
        """Make empty tables. ``scratch``: an empty directory for temporary files."""
        self._run = run
        self._parquet = scratch / "new"
        self._parquet.mkdir()
        self._database = open_database(scratch, memory_limit)
        self._database.execute("SET threads = 1")
        self._tables = tables_under(VIEWS)
        self._manifest = parts.Manifest(fingerprint())
        self._session: datetime | None = None
        self._begins: datetime | None = None
        self._create()

    def close(self) -> None:
        """Free the memory."""
        self._database.close()

    def findings(self) -> dict[str, Any]:
        """The present session and its findings, the worst first; plain data.

        Raises:
            FileNotFoundError: there is no log yet.
            OSError: it cannot be read.
        """
        run = run_of(self._run)
        self._read(run)
        content = manifest.read_or_tell(run.path, lambda _: None) if run.path is not None and run.path.is_dir() else {}
        session = str(content.get("started_at") or "")
        self._forget(moment_of(session))
        judgement = judged(self._subject(), self._run.resolve().name)
        found = [each for each in judgement.findings if each.kind != "rank_missing"]  # by locks, of other nodes too
        return {"session": session, "findings": [_told(finding) for finding in (*found, *self._gone())]}

    def _subject(self) -> Subject:
        """The run as its log tells it: locks of other nodes, which the relays of those ask, tell nothing here."""
        ended = len(self._outcomes())
        subject = subject_of(self._database, self._run, lambda _: None)
        is_running = not ended or ended < self._ranks()
        return msgspec.structs.replace(subject, is_running=is_running, process_gone=False)

    def _ranks(self) -> int:
        return int(self._database.execute("SELECT count(DISTINCT rank) FROM last_seen").fetchall()[0][0])

    def _outcomes(self) -> dict[int, str]:
        """Outcome of each rank that ended; the relay of its node writes that of a process that died."""
        rows = self._database.execute("SELECT rank, max_by(outcome, timestamp) FROM run_ended GROUP BY rank").fetchall()
        return dict(rows)

    def _gone(self) -> Iterator[Finding]:
        """Ranks that died while others go on."""
        outcomes, ranks = self._outcomes(), self._ranks()
        for rank, outcome in outcomes.items():
            if outcome == "died" and len(outcomes) < ranks:
                yield Finding(
                    kind="rank_missing",
                    severity=Grade.CRITICAL,
                    confidence=Confidence.CERTAIN,
                    sentence=f"Rank {rank} of {ranks} is gone: its process ended without a word.",
                    evidence=[Figure("ranks", ranks)],
                    who={"rank": str(rank)},
                    cause="killed (out of memory, a signal), or crashed in native code",
                    query="SELECT timestamp, rank, outcome, detail, reported_by FROM run_ended ORDER BY timestamp",
                )

    def _create(self) -> None:
        self._database.execute("CREATE SCHEMA held")
        held = {name: f"held.{quoted(name)}" for name in self._tables}
        for name, place in held.items():
            self._database.execute(f"CREATE TABLE {place} AS {TABLES[name].stored([])}")
        for view in in_order(VIEWS):
            self._database.execute(f"CREATE VIEW {quoted(view.name)} AS {view.sql.format(**held)}")
        self._database.execute(f"CREATE VIEW last_seen AS {LAST_SEEN}")

    def _read(self, run: Run) -> None:
        """Add what the log gained since the last time."""
        Stage(run, self._parquet, self._manifest, self._database, self._tables).bring_up_to_date()
        for name, paths in self._manifest.paths(self._parquet).items():
            self._database.execute(f"INSERT INTO held.{quoted(name)} {TABLES[name].stored(paths)}")
            for path in paths:
                path.unlink(missing_ok=True)
        self._manifest.files.clear()

    def _forget(self, session: datetime | None) -> None:
        """Drop rows of an earlier training process, and those that are older than the window."""
        newest = self._database.execute("SELECT max(timestamp) FROM last_seen").fetchall()[0][0]
        window = newest - WINDOW if isinstance(newest, datetime) else None
        begins = max(filter(None, (session, window)), default=None)
        if begins is None or (session == self._session and self._begins and begins - self._begins < SLACK):
            return
        self._session, self._begins = session, begins
        for name in self._tables:
            since = session if name in _LIFE else begins
            if since is not None and any(column.name == "timestamp" for column in TABLES[name].columns):
                place = f"held.{quoted(name)}"
                kept = f"SELECT * FROM {place} WHERE timestamp >= ?"
                self._database.execute(f"CREATE OR REPLACE TABLE {place} AS {kept}", [since])


def _told(finding: Finding) -> dict[str, Any]:
    """The finding as plain data, with the time for which it must be found before it counts, s."""
    kind = finding.of
    hold = BY_NAME[kind.alert].hold if kind.alert else ""
    matched = re.fullmatch(r"(\d+)([smh])", hold)
    hold_s = int(matched[1]) * _UNITS[matched[2]] if matched else 0
    evidence = ", ".join(figure.text for figure in finding.evidence)
    return {**finding.as_json(), "evidence": evidence, "alert": kind.alert, "hold_s": hold_s}


def main() -> None:
    """Answer every line of the input until it ends."""
    os.nice(NICE)
    scratch = tempfile.tempdir = sys.argv[2]
    live = LiveDiagnosis(Path(sys.argv[1]), Path(scratch))
    begun_s = time.process_time()
    try:
        for _ in sys.stdin:
            try:
                answer = live.findings()
            except (OSError, ValueError, RuntimeError, duckdb.Error) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            used_s, begun_s = time.process_time() - begun_s, time.process_time()
            sys.stdout.write(msgspec.json.encode(plain({**answer, "core_s": used_s})).decode() + "\n")
            sys.stdout.flush()
    finally:
        live.close()
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
