"""What esper-lite did not measure is absent everywhere; what it measured as 0 is 0."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from esper_otel.log.reader import LogReader
from esper_otel.relay.ingest import Ingest
from esper_otel.relay.metrics.accounting import account
from esper_otel.relay.metrics.families import AttributeValues
from esper_otel.relay.metrics.state import MetricState
from esper_otel.sql import connect
from tests.recorded import RECORDINGS, recording
from tests.sql.made_logs import line

UPDATE = {"policy_loss": 0.1, "nan_grad_count": 0, "inf_grad_count": 0, "dead_layers": 0, "exploding_layers": 0}


def metrics_of(path: Path) -> dict[str, dict[AttributeValues, Any]]:
    state, ingest = MetricState(), Ingest(None, None)
    with LogReader(path) as reader:
        while items := reader.read(1000):
            for item in items:
                account(state, ingest.take(item))
    restored = MetricState()
    restored.restore(state.snapshot())
    return {family.prometheus_name: dict(family.points) for family in restored.collect(state.last_ns)}


def made(directory: Path, lines: Sequence[bytes]) -> Path:
    path = directory / "events.jsonl"
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize(
    ("health", "measured"),
    [({}, None), ({"layer_gradient_health": None}, None), ({"layer_gradient_health": {"a": 1.0}}, 0)],
)
def test_gradients_are_counted_only_where_layers_were_looked_at(
    tmp_path: Path, health: dict[str, Any], measured: int | None
) -> None:
    path = made(tmp_path, [line("PPO_UPDATE_COMPLETED", UPDATE | health, 1)])

    with connect(path) as runs:
        names = "nan_grad_count, inf_grad_count, dead_layers, exploding_layers"
        assert [(measured,) * 4] == runs.execute(f"SELECT {names} FROM tamiyo_updates").fetchall()
    assert (measured is not None) == ("tamiyo_nan_grads_total" in metrics_of(path))


@pytest.mark.parametrize(("stage", "ratio"), [("GERMINATED", None), ("TRAINING", 0.0)])
def test_a_seed_that_was_never_trained_has_no_gradients(tmp_path: Path, stage: str, ratio: float | None) -> None:
    data = {"slot_id": "r0c0", "env_id": 0, "from_stage": stage, "to_stage": "PRUNED", "grad_ratio": 0.0}
    path = made(tmp_path, [line("SEED_STAGE_CHANGED", data | {"has_vanishing": False, "has_exploding": False}, 1)])

    with connect(path) as runs:
        found = runs.execute("SELECT grad_ratio, has_vanishing FROM seed_stage_changed").fetchall()
    assert [(ratio, None if ratio is None else False)] == found


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_counter_of_a_recording_is_of_something_that_esper_lite_never_sends(name: str) -> None:
    found = metrics_of(recording(name))
    never = {"mask_hits", "masked_choices", "log_prob_underflows", "trust_region_violations", "amp_overflows"}

    assert not [metric for metric in found if any(part in metric for part in (*never, "loss_scale_changes"))]
    assert not [values for values in found["kasmina_stage_changes_total"] if values[2:] == ("DORMANT", "GERMINATED")]
    assert found["tolaria_rollbacks_total"]
    assert sum(found["tamiyo_decisions_total"].values()) > 0


def test_a_heuristic_run_counts_no_decisions_updates_or_batches(tmp_path: Path) -> None:
    episode = {"kind": "heuristic_episode", "mode": "heuristic", "final_accuracy": 10.0, "total_reward": 1.0}
    found = metrics_of(
        made(tmp_path, [line("TRAINING_STARTED", {"n_envs": 1}, 1), line("ANALYTICS_SNAPSHOT", episode, 2)])
    )

    assert not {"tamiyo_decisions_total", "tamiyo_updates_total", "tolaria_batches_total"} & set(found)
    assert {0.0} == set(found["tolaria_rollbacks_total"].values())


def test_events_with_different_keys_of_one_map_do_not_erase_each_other(tmp_path: Path) -> None:
    def phases(number: int, **shares: float) -> bytes:
        timing = {
            name: {"wall_ms": 10.0, "python_cpu_ms": 10.0 * share, "python_cpu_ratio": share}
            for name, share in shares.items()
        }
        return line("PHASE_PROFILE_COMPLETED", {"batch_idx": 0, "phases": timing}, number)

    found = metrics_of(made(tmp_path, [phases(1, train=0.5, val=0.25), phases(2, ppo_update=1.0), phases(3, val=0.75)]))

    assert {"train": 0.5, "val": 0.75, "ppo_update": 1.0} == {
        values[-1]: share for values, share in found["tolaria_phase_cpu_fraction"].items()
    }


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_phase_of_a_recording_has_a_share(name: str) -> None:
    found = metrics_of(recording(name))

    assert {values[-1] for values in found["tolaria_phase_cpu_fraction"]} == {
        values[-1] for values in found["tolaria_phase_duration_seconds"]
    }
