"""A position in the log: what an exporter reads next, and what it stores to resume there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.log.reading.follower import Position
from esper_otel.relay.console import say
from esper_otel.relay.ingest import Ingest, Ingested
from esper_otel.relay.pipeline import Context


class LogPosition:
    """A reader of the run's log that can be stored, with events decoded and repeated lines marked."""

    def __init__(
        self,
        path: Path,
        *,
        follow: bool,
        stored: Mapping[str, Any] | None = None,
        own_id: str | None = None,
        follows: Callable[[int], bool] | None = None,
        wanted: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Continue from an earlier :attr:`state`, else begin at the start.

        Args:
            path, follow, own_id, follows: the log, as in :class:`~esper_otel.relay.pipeline.Context`.
            stored: what :attr:`state` was.
            wanted: whether a record is exported; others are skipped. Rounds and policy updates are in the log of every
                rank: ``record.rank == 0`` exports them once.

        Raises:
            FileNotFoundError: there is nothing to read and the log does not grow.
            Exception: whatever an unusable ``stored`` makes it raise.
        """
        self._path, self._follow, self._follows, self._wanted = path, follow, follows, wanted
        self._ingest = Ingest(stored["ingest"] if stored else None, own_id)
        self._reader = self._open(stored["positions"] if stored else None)

    @classmethod
    def resumed(
        cls, context: Context, checkpoint: str, destination: str, wanted: Callable[[Record], bool] = lambda _: True
    ) -> Self:
        """Continue where the position stored as ``checkpoint`` is; one that is unusable is reported and left.

        Raises:
            FileNotFoundError: there is nothing to read and the log does not grow.
        """
        make = partial(
            cls, context.path, follow=context.follow, own_id=context.own_id, follows=context.follows, wanted=wanted
        )
        stored = context.directory.load(checkpoint) if context.directory else None
        if stored is not None:
            try:
                return make(stored=stored)
            except Exception as error:  # whatever is wrong with it, the log can give it again
                say(f"the stored position for {destination} is unusable ({error}); reading the log anew")
        return make()

    @property
    def state(self) -> dict[str, Any]:
        """Position to store; plain JSON."""
        return {"positions": self._reader.positions, "ingest": self._ingest.state}

    def read(self, limit: int) -> list[Ingested] | None:
        """Those of the next ``limit`` lines that are wanted, None when there is nothing new. Does not wait."""
        items = self._reader.read(limit)
        if not items:
            return None
        return [self._ingest.take(item) for item in items if isinstance(item, Record) and self._wanted(item)]

    def finish(self) -> None:
        """Stop expecting more: the next reads end with the log."""
        self._reader.finish()

    def reopen(self) -> None:
        """Expect more again, from the current position on."""
        self._reader.close()
        self._reader = self._open(self._reader.positions)

    def close(self) -> None:
        """Close all files."""
        self._reader.close()

    def _open(self, positions: Mapping[str, Position] | None) -> LogReader:
        return LogReader(
            self._path, follow=self._follow, positions=positions, decode_events=True, follows=self._follows
        )
