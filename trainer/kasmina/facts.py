"""Changes of a seed as plain facts; :mod:`trainer.simic.emission` turns them into events."""

from __future__ import annotations

from dataclasses import dataclass

from trainer.kasmina.alpha import AlphaCurve, Style
from trainer.kasmina.stages import Stage


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """The policy's action behind a change; automatic changes have none."""

    action_id: str
    rng_stream: str
    rng_seed: int


@dataclass(frozen=True, kw_only=True)
class SeedFact:
    """Common to all facts. ``age`` counts the seed's epochs, ``provenance`` is None for automatic changes."""

    slot_id: str
    seed_id: str
    blueprint_id: str
    provenance: Provenance | None


@dataclass(frozen=True, kw_only=True)
class Germinated(SeedFact):
    """A seed was planted. ``params`` counts its parameters, ``tempo_epochs`` its first ramp's length."""

    params: int
    style: Style
    tempo_epochs: int


@dataclass(frozen=True, kw_only=True)
class GateEvaluated(SeedFact):
    """A gate judged a seed that wanted to enter ``target_stage``."""

    gate: str
    target_stage: Stage
    passed: bool
    checks_passed: tuple[str, ...]
    checks_failed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StageChanged(SeedFact):
    """A seed went from one stage to the next. ``accuracy_delta`` in percentage points since germination."""

    from_stage: Stage
    to_stage: Stage
    alpha: float
    accuracy_delta: float
    epochs_in_stage: int
    grad_ratio: float | None
    alpha_curve: AlphaCurve


@dataclass(frozen=True, kw_only=True)
class Fossilized(SeedFact):
    """A seed became permanent. Accuracies in percentage points."""

    improvement: float
    params: int
    alpha: float
    age: int
    contribution: float | None
    blending_delta: float | None


@dataclass(frozen=True, kw_only=True)
class Pruned(SeedFact):
    """A seed was removed. ``initiator`` is policy, governor or auto; accuracies in percentage points."""

    reason: str
    initiator: str
    improvement: float
    age: int
    contribution: float | None
    blending_delta: float | None
