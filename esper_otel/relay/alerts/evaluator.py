"""The process that diagnoses the run, and questions to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.relay.helper_process import HelperProcess

ANSWER_S: Final = 600.0
"""Longest time for an answer: the first reads the log of the run so far."""


class Told(msgspec.Struct, frozen=True):
    """One finding as the process tells it (:mod:`esper_otel.diagnosis.live`)."""

    kind: str
    severity: str
    confidence: str
    sentence: str
    alert: str = ""
    evidence: str = ""
    when: str = ""
    who: dict[str, str] = {}
    cause: str = ""
    query: str = ""
    meaning: str = ""
    next_step: str = ""
    hold_s: float = 0.0


class Answer(msgspec.Struct, frozen=True):
    """The findings of now, and the time of a core that they took; ``error`` tells why there are none."""

    session: str = ""
    findings: list[Told] = []
    error: str = ""
    core_s: float = 0.0


_DECODER: Final = msgspec.json.Decoder(Answer)


class EvaluationError(RuntimeError):
    """The process ended, or gave no answer."""


class Evaluator:
    """Diagnoses a run by means of a process, which is started again where it ended."""

    def __init__(self, run: Path) -> None:
        """``run``: run directory, log file or telemetry directory. Nothing is started yet."""
        self._process = HelperProcess("esper_otel.diagnosis.live", str(run), name="live")

    def ask(self, is_cut: Callable[[], bool]) -> Answer | None:
        """The findings of now; None once ``is_cut`` says that nobody waits for them.

        Raises:
            EvaluationError: there is no answer.
        """
        try:
            line = self._process.ask(b"", is_cut, ANSWER_S)
        except OSError as error:
            raise EvaluationError(f"the diagnosing process ended ({error})") from error
        if line is None:
            return None
        try:
            return _DECODER.decode(line)
        except msgspec.MsgspecError as error:
            self.close()
            raise EvaluationError(f"the diagnosing process gave no answer ({error})") from error

    def close(self) -> None:
        """End the process and the helpers that it started."""
        self._process.close()
