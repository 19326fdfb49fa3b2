"""One finding, and the diagnosis that holds them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from esper_otel.alerts.kinds import KINDS, Kind, of


class Grade(StrEnum):
    """Severity of a finding: critical ends or ruins a run, warning costs it something, info is only worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


class Confidence(StrEnum):
    """Certainty of a finding: it was recorded as it is, it follows from many measurements, or from few."""

    CERTAIN = "certain"
    HIGH = "high"
    MEDIUM = "medium"


ORDER: Final = {Grade.CRITICAL: 0, Grade.WARNING: 1, Grade.INFO: 2}


class Figure(msgspec.Struct, frozen=True):
    """One number of the evidence; ``unit`` is empty for a plain number."""

    name: str
    value: float | int | str
    unit: str = ""

    @property
    def text(self) -> str:
        """For people, for instance ``own time 24.1 ms``."""
        shown = f"{self.value:.4g}" if isinstance(self.value, float) else str(self.value)
        return f"{self.name} {shown}{f' {self.unit}' if self.unit else ''}"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding.

    Attributes:
        kind: name of its row in :data:`~esper_otel.alerts.kinds.KINDS`.
        alert: alert that is about just this, where that is another one than its kind's.
        severity: how bad it is.
        confidence: how certain it is.
        sentence: the verdict.
        evidence: the measurements behind it.
        when: time, round, update or episode, for people.
        who: rank, environment, head, model, seed or blueprint, by name.
        cause: the cause where the log tells it, else empty.
        stack: frames of the main thread where one was recorded, the innermost first.
        query: SQL that shows the events behind it.
    """

    kind: str
    severity: Grade
    confidence: Confidence
    sentence: str
    evidence: list[Figure] = []
    when: str = ""
    who: dict[str, str] = {}
    cause: str = ""
    stack: list[str] = []
    query: str = ""
    alert: str = ""

    @property
    def of(self) -> Kind:
        """The row with its meaning and next step."""
        return of(self.kind, self.alert) if self.alert else KINDS[self.kind]

    def as_json(self) -> dict[str, Any]:
        """Plain data, with the meaning, the next step and the anchor in the runbook."""
        kind = self.of
        runbook = {"runbook": f"runbook.md#{kind.alert.lower()}"} if kind.alert else {}
        return {**msgspec.to_builtins(self), "meaning": kind.meaning, "next_step": kind.act, **runbook}


class Diagnosis(msgspec.Struct, frozen=True):
    """Verdict on a run.

    Attributes:
        run: name of the run.
        state: running, finished, failed and so on; empty if unknown.
        verdict: the sentence on the whole.
        is_judged: False when the log has too little for a verdict.
        evidence: what the verdict of a healthy run stands on.
        findings: the worst first.
        not_judged: what no rule could look at, and why.
    """

    run: str
    state: str
    verdict: str
    is_judged: bool
    evidence: list[Figure]
    findings: list[Finding]
    not_judged: list[str]

    @property
    def severity(self) -> Grade | None:
        """The worst severity; None without a finding."""
        return min((each.severity for each in self.findings), key=ORDER.__getitem__, default=None)

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**msgspec.to_builtins(self), "findings": [each.as_json() for each in self.findings]}


def counted(number: int, singular: str, plural: str = "") -> str:
    """A number with its noun, for instance ``1 rollback`` and ``2 rollbacks``."""
    return f"{number} {singular if number == 1 else plural or f'{singular}s'}"
