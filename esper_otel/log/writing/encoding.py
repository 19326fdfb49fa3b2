"""Lines of the events of one rank, numbered in the order in which they are encoded."""

from __future__ import annotations

from esper_otel.events import EventDeclared
from esper_otel.events.declare import Event
from esper_otel.log.encode import Envelope, LineEncoder
from esper_otel.log.queued import ForeignEvent, LegacyLines, Queued
from esper_otel.log.writing.losses import Losses, LossReason, Speaker


class Encoding:
    """Encodes queued events; an event that cannot be encoded is counted and reported. Not safe for several threads.

    Attributes:
        seq: number of the last line.
        run_id: identity of the run.
        rank: rank of this process.
        is_planned: whether the lines of a class differ in values alone, so that they may be encoded in C.
    """

    def __init__(
        self,
        run_id: str,
        rank: int,
        seq: int,
        *,
        legacy: LegacyLines | None,
        legacy_repeats: bool,
        losses: Losses,
        speaker: Speaker,
    ) -> None:
        """Begin after line ``seq``.

        ``legacy`` turns events into lines under their old names, None writes new names alone; ``legacy_repeats``: those
        lines come beside the new ones, so that they are repetitions.
        """
        self.seq = seq
        self.run_id = run_id
        self.rank = rank
        self._encoder = LineEncoder(run_id, rank)
        self.is_planned = legacy is None
        self._legacy = legacy
        self._legacy_repeats = legacy_repeats
        self._losses = losses
        self._speaker = speaker

    def lacks_declaration(self, cls: type[Event]) -> bool:
        """Return True for a user's own class whose declaration is not written yet."""
        return self._encoder.lacks_declaration(cls)

    def lines_of(self, items: list[Queued]) -> tuple[bytes, int]:
        """Return the lines of ``items`` and the number of items with lines."""
        if self._legacy is None and (lines := self._encoder.encode_slice(items, self.seq + 1)) is not None:
            self.seq += len(items)
            return lines, len(items)
        encoded = [line for item in items if (line := self.line_of(item))]
        return b"".join(encoded), len(encoded)

    def line_of(self, item: Queued) -> bytes:
        """Return the lines of one event; none, and a loss, if it is not an event."""
        event = item[0]
        try:
            if not isinstance(event, Event):
                return self._foreign_line(event)
            if self._encoder.lacks_declaration(type(event)):
                return self._declaration(type(event), item) + self.line_of(item)
            if self._legacy is None:
                return self._line(event, item, self._next_seq())
            pairs = self._legacy.lines(event)
            seq = self._next_seq() if pairs else 0
            return b"".join([self._line(event, item, seq, name, payload) for name, payload in pairs])
        except Exception as error:  # one odd event must not end the recording of all others
            self._lose(f"{getattr(type(event), 'event_type', type(event).__name__)}: {error}", 1)
            return b""

    def held_lines(self, now_ns: int) -> list[bytes]:
        """Return the lines under old names that waited for further events."""
        lines = []
        for event_type, payload, event in self._legacy.flush() if self._legacy is not None else []:
            item: Queued = (event, now_ns, "default", None, None)
            seq = self.seq if self._legacy_repeats else self._next_seq()
            lines.append(self._line(event, item, seq, event_type, payload))
        return lines

    def _declaration(self, cls: type[Event], item: Queued) -> bytes:
        """The line that declares a user's own class; none, and a message, if it breaks a rule."""
        from esper_otel.signals.declaration import declaration_of  # which builds the registry of all signals

        self._encoder.declared.add(cls)
        try:
            declaration = declaration_of(cls).text()
        except Exception as error:  # whatever a foreign class makes of its declaration
            text = f"events of {cls.__name__} are logged, but nothing will show them: {type(error).__name__}: {error}"
            self._speaker.say_once(f"declaration {cls.__name__}", text)
            return b""
        event = EventDeclared(declared=cls.event_type, declaration=declaration)
        return self._line(event, (event, item[1], "default", None, None), self._next_seq())

    def _foreign_line(self, event: ForeignEvent) -> bytes:
        if not isinstance(event, ForeignEvent):
            raise TypeError(f"{type(event).__name__} is not an event")
        line, lost = event.line(self.run_id, self.rank, self._next_seq())
        if lost:
            self._lose(f"{event.event_type}.{lost[0]}", len(lost))
        return line

    def _line(
        self, event: Event, item: Queued, seq: int, event_type: str | None = None, payload: object = None
    ) -> bytes:
        _, timestamp_ns, group_id, severity, message = item
        envelope = Envelope(timestamp_ns, group_id, severity, message, seq)
        line, lost = self._encoder.encode(event, envelope, event_type=event_type, payload=payload)
        if lost:
            self._lose(f"{type(event).event_type}.{lost[0]}", len(lost))
        return line

    def _lose(self, detail: str, count: int) -> None:
        self._losses.add(LossReason.UNENCODABLE, count, detail)
        cause = detail.split(":", 1)[0]
        self._speaker.say_once(cause, f"dropped from the event log (reported once per field): {detail}")

    def _next_seq(self) -> int:
        self.seq += 1
        return self.seq
