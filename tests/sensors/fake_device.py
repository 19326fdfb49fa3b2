"""An imitation of the CUDA event boundary: streams that a test moves forward, as the driver's do by themselves."""

from __future__ import annotations


class Stream:
    """Work of a device in order; ``run_to`` lets it get to a moment of the device's clock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock_s = 0.0
        self.enqueued_s = 0.0

    def work(self, seconds: float) -> None:
        """Enqueue work that takes ``seconds`` on the device."""
        self.enqueued_s += seconds

    def run(self, seconds: float | None = None) -> None:
        """Let the device work for ``seconds``; to the end of what is enqueued when None."""
        self.clock_s = self.enqueued_s if seconds is None else self.clock_s + seconds


class Mark:
    """An event: where in which stream it stands."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self.at_s = 0.0


class FakeMarks:
    """Marks over such streams. Like the driver it refuses what CUDA refuses.

    Attributes:
        current: the stream in use.
        queries: how often an event was asked for.
        capturing: whether a graph is being captured.
        lost: what every call raises once the device fell off the bus.
    """

    def __init__(self) -> None:
        self.current = Stream("default")
        self.capturing = False
        self.lost: RuntimeError | None = None
        self.queries = 0
        self.created = 0

    def new(self) -> Mark:
        self.created += 1
        return Mark()

    def stream(self) -> Stream:
        return self.current

    def record(self, mark: Mark, stream: Stream) -> None:
        self._check()
        if self.capturing:
            raise AssertionError("an event was recorded into a graph capture")
        mark.stream, mark.at_s = stream, stream.enqueued_s

    def has_passed(self, mark: Mark) -> bool:
        self._check()
        if self.capturing:
            raise AssertionError("a query during capture breaks the capture")
        self.queries += 1
        assert mark.stream is not None
        return mark.stream.clock_s >= mark.at_s

    def seconds(self, start: Mark, end: Mark) -> float:
        if not (self.has_passed(start) and self.has_passed(end)):
            raise RuntimeError("CUDA error: device not ready")
        return end.at_s - start.at_s

    def is_capturing(self) -> bool:
        return self.capturing

    def _check(self) -> None:
        if self.lost is not None:
            raise self.lost
