"""Findings of the diagnosis for the page, each with the part of the page that shows it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

import msgspec

from esper_otel.diagnosis.diagnose import diagnosed
from esper_otel.diagnosis.finding import Diagnosis, Finding
from esper_otel.report.infrastructure_chart import TITLE as MACHINE
from esper_otel.report.outcome_charts import OUTCOMES, REWARDS
from esper_otel.report.policy_charts import ENTROPY, GRADIENTS, TRUST, VALUE
from esper_otel.report.source import Connection
from esper_otel.report.swimlane import TITLE as SEEDS
from esper_otel.report.training_chart import TITLE as MODEL

ANOMALIES: Final = "Anomalies"
LOST: Final = "Lost events"

PLACES: Final[dict[str, tuple[str, ...]]] = {
    **dict.fromkeys(("non_finite", "exploding_gradients", "vanishing_gradients"), (GRADIENTS, MODEL)),
    **dict.fromkeys(("dead_layers", "loss_diverged", "ranks_differ"), (MODEL,)),
    **dict.fromkeys(("kl_high", "clip_high", "policy_ratio"), (TRUST,)),
    "entropy_collapsed": (ENTROPY,),
    "entropy_coefficient": (ENTROPY,),
    "critic_failing": (VALUE,),
    "advantages_degenerate": (OUTCOMES,),
    "performance_degraded": (OUTCOMES, ANOMALIES),
    "plateau": (OUTCOMES, ANOMALIES),
    "reward_hacking": (ANOMALIES, REWARDS),
    **dict.fromkeys(("seeds_pruned", "seeds_never_permanent"), (SEEDS,)),
    **dict.fromkeys(("input_bound", "gpu_idle", "memory_growth", "out_of_memory", "straggler"), (MACHINE,)),
    **dict.fromkeys(("recompilation_storm", "rollbacks", "updates_skipped"), (ANOMALIES,)),
    **dict.fromkeys(("events_lost", "lines_rejected", "sensor_fault"), (LOST,)),
    **dict.fromkeys(("run_died", "run_failed", "run_stalled", "run_interrupted"), ()),
    **dict.fromkeys(("rank_missing", "rank_stopped", "collective_not_entered", "collective_mismatch"), (MACHINE,)),
    "dump_unreadable": (MACHINE,),
}
"""Charts and tables that show a finding of a kind, the best first. The head shows how a run ended."""

_BY_VIEW: Final = {"tolaria_training_update": (MODEL,), "tolaria_epochs": (ANOMALIES,)}
"""Places of a finding whose query shows rows of one view, whatever its kind."""


class Shown(msgspec.Struct, frozen=True):
    """One finding; ``place`` is the title of the part that shows it, empty if no part does."""

    finding: Finding
    place: str

    @property
    def anchor(self) -> str:
        """Id of that part of the page."""
        return anchor_of(self.place)

    @property
    def details(self) -> Iterator[tuple[str, str]]:
        """Everything else about it, by name."""
        finding = self.finding
        yield "evidence", ", ".join(figure.text for figure in finding.evidence)
        yield "when", finding.when
        yield "who", ", ".join(f"{name} {value}" for name, value in finding.who.items())
        yield "cause", finding.cause
        yield "means", finding.of.meaning
        yield "next", finding.of.act


def anchor_of(title: str) -> str:
    """Id of the part of the page with a title."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def diagnosis_of(connection: Connection, run: Path, run_ids: Collection[str]) -> Diagnosis | None:
    """The diagnosis of the run at ``run``; None of several runs together, which have no common one."""
    return diagnosed(connection, run) if len(run_ids) <= 1 else None


def shown(diagnosis: Diagnosis, measured: Collection[str]) -> list[Shown]:
    """The findings, each with the first of its places that is among the titles ``measured``."""
    return [Shown(finding, _place(finding, measured)) for finding in diagnosis.findings]


def _place(finding: Finding, measured: Collection[str]) -> str:
    # a policy's optimizer has the charts of both; a host's loss has none
    places = next((found for view, found in _BY_VIEW.items() if f"FROM {view}" in finding.query), PLACES[finding.kind])
    return next((title for title in places if title in measured), "")
