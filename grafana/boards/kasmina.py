"""Kasmina: growth by slot, value of the blueprints, gates, soundness of the seeds, causes of changes."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events.vocabulary import STAGES
from grafana.boards.kasmina_history import GATES, HISTORY
from grafana.boards.kasmina_soundness import GROWN, SOUNDNESS
from grafana.layout.board import Board, Row
from grafana.panels.kinds import Shown, bar_gauge_panel, stat_panel, timeseries_panel
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import table_panel
from grafana.queries.promql import (
    Prom,
    averaged,
    divided,
    last,
    minus,
    now,
    of_seeds,
    only_where,
    over_arms,
    plus,
    rate,
    raw,
    select,
    total,
)  # fmt: skip
from grafana.queries.truth import value

OF_SLOT: Final = ("env_id", "slot")
COLOURS: Final = (
    "#808080", "light-blue", "blue", "yellow", "purple", "green", "red", "dark-orange", "semi-dark-orange",
)  # fmt: skip
STAGE_WORDS: Final = dict(enumerate(zip((stage.lower() for stage in STAGES), COLOURS, strict=True)))
_NO_SEEDS: Final = "no slot has a seed, or the log does not tell the stages of its slots"
_TOO_FEW: Final = "no seed has reached that stage yet"


def stage_numbers() -> Prom:
    """The stage of each slot as its place in the list of stages; dormant is 0."""
    by = "by (env_id, slot, group_id)"
    parts = [
        f"{number} * max {by} ({value(select('kasmina.seed_state', stage=stage))})"
        for number, stage in enumerate(STAGES)
        if number
    ]
    return raw(" + ".join(parts), labels=("env_id", "slot", "group_id"), signals=("kasmina.seed_state",))


def _blueprints() -> Prom:
    """1, labelled with the blueprint of each seed.

    The relay reports the present blueprint of a slot and no others: of a run that is over all of them are found.
    """
    seeds = only_where(of_seeds("kasmina.seed_blueprint", "blueprint", agg="max"), "== 1")
    found = last("kasmina.seed_blueprint", *OF_SLOT, "blueprint", agg="max")
    slot = "env_id, slot, group_id"
    text = f"({seeds.text}) and on ({slot}) count by ({slot}) ({found.text} == 1) == 1"
    return msgspec.structs.replace(seeds, text=text)


def _changes(from_stage: str, to_stage: str) -> Prom:
    return total("kasmina.stage_changes", from_stage=from_stage, to_stage=to_stage)


def _blends() -> Prom:
    """Of the seeds that left blending, the share that was kept."""
    held = _changes("BLENDING", "HOLDING")
    return divided(held, plus(held, _changes("BLENDING", "PRUNED")))


def _slot_use() -> Prom:
    """Share of the slots that have a seed, over the whole run."""
    empty = averaged("kasmina.seed_state", stage="DORMANT")
    return raw(f"1 - {empty.text}", labels=empty.labels, unit="percentunit", signals=empty.signals)


def _per_episode(name: str) -> Prom:
    counts = divided(total(name), total("simic.episodes"))
    return raw(counts.text, labels=counts.labels, signals=counts.signals)


_NOW: Final[tuple[Shown, ...]] = tuple(
    (stage.lower(), over_arms("sum", last("kasmina.seed_state", agg="sum", stage=stage))) for stage in STAGES
)

_GROWTH = Row(
    "What grows where?",
    (
        state_timeline_panel(
            "stages",
            "Stage of each slot",
            "Lanes move from blue over yellow and purple to green; red and orange are rare. Each sample is one scrape: "
            "the seeds' traces below show shorter episodes. Choose environments above.",
            ("{{env_id}}/{{slot}}", stage_numbers()),
            states=STAGE_WORDS,
            lanes=20,
            width=16,
            height=10,
        ),
        bar_gauge_panel(
            "now",
            "Slots by stage",
            "Slots are in use, and more of them grow than are dormant, pruned or embargoed.",
            *_NOW,
            height=10,
            limits=None,
            unit="none",
        ),
        table_panel(
            "seeds",
            "Seeds now",
            "A positive contribution, no vanishing and no exploding gradients; interaction not below 0. Of a run that"
            " is over, the seeds at its end, whose contribution is in a chart below; a slot that had seeds of several"
            " blueprints does not tell then which one was its last.",
            ("_", only_where(last("kasmina.seed_state", *OF_SLOT, "stage", agg="max", stage="!DORMANT"), "== 1")),
            ("__", _blueprints()),
            ("alpha", of_seeds("kasmina.seed_alpha")),
            ("epochs in stage", of_seeds("kasmina.seed_epochs_in_stage")),
            ("contribution", now("kasmina.seed_contribution", *OF_SLOT)),
            ("velocity", now("kasmina.seed_contribution_velocity", *OF_SLOT)),
            ("interaction", now("kasmina.seed_interaction", *OF_SLOT)),
            ("boost", now("kasmina.seed_boost", *OF_SLOT)),
            ("accuracy since birth", of_seeds("kasmina.seed_accuracy_delta")),
            ("gradient norm", of_seeds("kasmina.seed_grad_norm")),
            ("vanishing", of_seeds("kasmina.seed_vanishing", agg="max")),
            ("exploding", of_seeds("kasmina.seed_exploding", agg="max")),
            ("parameters", of_seeds("kasmina.seed_params")),
            units={"epochs in stage": "none", "vanishing": "none", "exploding": "none"},
            names={"env_id": "env"},
            sort="contribution",
            height=7,
            empty=_NO_SEEDS,
        ),
        timeseries_panel(
            "alpha",
            "Blend weight by slot",
            "Rises in steps from 0 to its target and stays; a swinging weight means an indecisive policy.",
            ("{{env_id}}/{{slot}}", of_seeds("kasmina.seed_alpha")),
            between=(0, 1),
            width=24,
        ),
    ),
)

_GERMINATED: Final = last("kasmina.germinations", "blueprint", agg="sum")
_FOSSILIZED: Final = last("kasmina.fossilizations", "blueprint", agg="sum")
_PRUNED: Final = last("kasmina.prunes", "blueprint", agg="sum")

_GAINED: Final = last("kasmina.contribution_gained", "blueprint", agg="sum")
_LOST: Final = last("kasmina.contribution_lost", "blueprint", agg="sum")


def _contribution() -> Prom:
    """Sum of what the seeds of each blueprint added; nothing where none was measured."""
    both = minus(_GAINED, _LOST)
    return msgspec.structs.replace(both, text=f"({both.text}) and ({_GAINED.text} + {_LOST.text} > 0)")


_PAYING = Row(
    "Which blueprints pay?",
    (
        table_panel(
            "blueprints",
            "Blueprints",
            "Blueprints that are spawned most succeed most and contribute most. Contribution is the accuracy with a "
            "seed minus that without it, when last measured, in percentage points: the sum over the seeds that were "
            "kept or removed. A blueprint has none while no such seed was measured to add or to cost any.",
            ("spawned", only_where(_GERMINATED, "> 0")),
            ("fossilized", only_where(_FOSSILIZED, "> 0")),
            ("pruned", only_where(_PRUNED, "> 0")),
            ("success", divided(_FOSSILIZED, _GERMINATED)),
            ("churn", divided(_PRUNED, _GERMINATED)),
            ("contribution", _contribution()),
            sort="spawned",
            units={"spawned": "none", "fossilized": "none", "pruned": "none"},
        ),
        stat_panel(
            "yield",
            "Yield",
            "Many seeds are kept, but not all: some exploration fails.",
            ("fossilized of germinated", divided(total("kasmina.fossilizations"), total("kasmina.germinations"))),
            limits=None,
            width=8,
            empty=_TOO_FEW,
        ),
        stat_panel(
            "blending",
            "Blends held",
            "Most seeds that begin to blend are held.",
            ("held of blended", _blends()),
            limits=None,
            width=8,
            empty=_TOO_FEW,
        ),
        stat_panel(
            "slot_use",
            "Slot use",
            "Most slots have a seed; some are free for new ones.",
            ("slots in use", _slot_use()),
            limits=None,
            width=8,
        ),
        timeseries_panel(
            "lifecycle",
            "Seeds that are born, kept and removed, each second",
            "Fossilizations follow germinations; prunes do not overtake them.",
            ("germinated", rate("kasmina.germinations")),
            ("fossilized", rate("kasmina.fossilizations")),
            ("pruned", rate("kasmina.prunes")),
            width=12,
        ),
        timeseries_panel(
            "per_episode",
            "By episode, since the run began",
            "Settles; fossilized rises against germinated while the policy learns.",
            ("germinated", _per_episode("kasmina.germinations")),
            ("fossilized", _per_episode("kasmina.fossilizations")),
            ("pruned", _per_episode("kasmina.prunes")),
            empty="no episode has ended yet",
            width=12,
        ),
    ),
)

KASMINA: Final = Board(
    domain="kasmina",
    title="Kasmina: seeds",
    description="What grows where, which blueprints pay, do seeds pass their gates, are they sound, why did it happen.",
    rows=(_GROWTH, _PAYING, GATES, SOUNDNESS, HISTORY, GROWN),
)
