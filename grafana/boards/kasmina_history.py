"""Kasmina: gates, transitions, and the chain of causes behind each change of a host."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import bar_gauge_panel, timeseries_panel
from grafana.panels.tables import events_table_panel, table_panel, traces_panel
from grafana.queries.logql import events
from grafana.queries.promql import divided, last, only_where, rate
from grafana.queries.traceql import seeds

_PASSED: Final = last("kasmina.gate_evaluations", "gate", agg="sum", passed="true")
_ALIVE: Final = "!~PRUNED|EMBARGOED|RESETTING"
"""Stages whose next one is a decision; the way back to dormant is the same for all."""

_TRIED: Final = last("kasmina.gate_evaluations", "gate", agg="sum")

_CHANGED: Final = last("kasmina.stage_changes", "from_stage", "to_stage", agg="sum", from_stage=_ALIVE)

GATES: Final = Row(
    "Do the seeds pass their gates?",
    (
        table_panel(
            "gates",
            "Gates",
            "Early gates let most seeds through; G5, before fossilization, is the strict one.",
            ("evaluated", only_where(_TRIED, "> 0")),
            ("passed", divided(_PASSED, _TRIED)),
            width=10,
            sort="gate",
            descending=False,
            units={"evaluated": "none"},
        ),
        bar_gauge_panel(
            "transitions",
            "Changes of stage",
            "Long bars along germinated, training, blending, holding, fossilized; short ones to pruned.",
            (
                "{{from_stage}} → {{to_stage}}",
                only_where(_CHANGED, "> 0"),
            ),
            width=14,
            unit="none",
        ),
        timeseries_panel(
            "causes",
            "Records of the causal log by phase",
            "Every proposal has a verdict, every verdict that approves a commit.",
            only_where(rate("kasmina.morphology_records", "morphology_phase"), "> 0"),
            width=24,
            height=6,
            empty="esper-lite writes a causal log only where it proves its changes.",
        ),
    ),
)

_SEED: Final = {"kasmina_env_id": "env", "kasmina_slot_id": "slot"}
_LIVES: Final = ("SEED_GERMINATED", "SEED_STAGE_CHANGED", "SEED_FOSSILIZED", "SEED_PRUNED")

HISTORY: Final = Row(
    "Why did it happen?",
    (
        events_table_panel(
            "lives",
            "Changes of the seeds, newest first",
            "Seeds are fossilized with a positive improvement, and pruned for a reason.",
            events(*_LIVES, by_env=True, keep='kasmina_slot_id=~"$slot"'),
            {
                "esper_event_type": "event",
                **_SEED,
                "kasmina_blueprint_id": "blueprint",
                "kasmina_from_stage": "from",
                "kasmina_to_stage": "to",
                "kasmina_alpha": "alpha",
                "kasmina_accuracy_delta": "accuracy since birth",
                "kasmina_improvement": "improvement",
                "kasmina_blending_delta": "blending",
                "kasmina_counterfactual": "counterfactual",
                "kasmina_epochs_total": "epochs lived",
                "kasmina_initiator": "by",
                "kasmina_reason": "reason",
                "kasmina_inner_epoch": "epoch",
                "trace_id": "trace",
            },
            empty="no seed changed in this time",
        ),
        events_table_panel(
            "gate_log",
            "Gates, newest first",
            "Failed checks show what the seed lacked.",
            events("SEED_GATE_EVALUATED", by_env=True, keep='kasmina_slot_id=~"$slot"'),
            {
                **_SEED,
                "kasmina_gate": "gate",
                "kasmina_passed": "passed",
                "kasmina_target_stage": "to",
                "kasmina_checks_failed": "failed",
                "kasmina_inner_epoch": "epoch",
                "trace_id": "trace",
            },
            width=24,
            height=7,
            empty="no seed reached a gate in this time",
        ),
        traces_panel(
            "seed_traces",
            "Lives of the seeds",
            "A row for each seed that was kept or removed; its trace has a span for each stage.",
            seeds(),
            width=24,
            height=7,
            empty="no seed ended in this time",
        ),
        events_table_panel(
            "causal_log",
            "Causal log, newest first",
            "Each change can be traced: proposal, verdict, mutation, commit. Blocked changes have a reason.",
            events("MORPHOLOGY_CAUSAL_LOG", by_env=True, keep='kasmina_slot_id=~"$slot"'),
            {
                "kasmina_phase": "phase",
                "kasmina_operation": "operation",
                **_SEED,
                "kasmina_blueprint_id": "blueprint",
                "kasmina_governor_approved": "approved",
                "kasmina_governor_reason": "reason",
                "kasmina_governor_blocked_factor": "blocked by",
                "kasmina_watch_window_evidence": "watch evidence",
                "kasmina_action_id": "action",
                "kasmina_rng_stream": "random stream",
                "kasmina_rng_seed": "random seed",
                "kasmina_topology": "topology",
                "kasmina_inner_epoch": "epoch",
                "trace_id": "trace",
            },
            empty="esper-lite writes a causal log only where it proves its changes.",
        ),
        events_table_panel(
            "topologies",
            "Topology manifests",
            "Replayed and source hash match.",
            events("TOPOLOGY_MANIFEST_RECORDED"),
            {
                "esper_group_id": "group",
                "kasmina_manifest_role": "role",
                "kasmina_topology_manifest_hash": "hash",
                "kasmina_source_topology_manifest_hash": "source hash",
                "kasmina_replayed_topology_manifest_hash": "replayed hash",
                "kasmina_manifest_match": "match",
                "kasmina_slot_count": "slots",
                "kasmina_fossilized_seed_count": "fossilized",
            },
            height=5,
            empty="only a run of esper-lite that proves a baseline records its topology",
        ),
    ),
)
