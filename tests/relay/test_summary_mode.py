"""``ESPER_OTEL_METRICS=summary``: ranks and environments are exported as one, but for what alerts need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import esper_otel
from esper_otel.alerts.needed import NEEDED
from esper_otel.events import (
    EpisodeOutcome,
    EpochCompleted,
    Event,
    EventDeclared,
    PolicyUpdate,
    TrainingStarted,
)
from esper_otel.relay.metrics.families import Family, HistogramPoint
from esper_otel.relay.metrics.state import MetricState
from esper_otel.relay.metrics.summary import metrics_option, summarised
from esper_otel.runtime.relay_environment import checked_environment
from esper_otel.signals import custom
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import announced_url, manifest, relay, samples, scrape
from tests.tools import python_environment
from tests.waiting import PATIENCE_S, wait_for

AT_NS = 1_700_000_000_000_000_000
Points = dict[tuple[str, ...], float | HistogramPoint]


def state_of(*events: tuple[int, Event]) -> MetricState:
    """The state after events, each with its rank."""
    state = MetricState()
    for rank, event in events:
        state.apply(event, group_id="default", rank=rank, timestamp_ns=AT_NS)
    return state


def both(state: MetricState) -> tuple[dict[str, Family], dict[str, Family], int]:
    """Families by name as they are, their summary, and the points that it replaced."""
    families = state.collect(AT_NS)
    summary, replaced = summarised(families, state.limits.admitted)
    return {one.name: one for one in families}, {one.name: one for one in summary}, replaced


def points_of(families: dict[str, Family], name: str) -> Points:
    return families[name].points


def epochs(envs: int, rank: int = 0) -> list[tuple[int, Event]]:
    return [
        (
            rank,
            EpochCompleted(env_id=env, train_accuracy=10.0 * env * env, val_loss=1.0, host_epoch_time_ms=100.0 + env),
        )
        for env in range(envs)
    ]


def updates(values: list[float]) -> list[tuple[int, Event]]:
    return [(rank, PolicyUpdate(kl_divergence=value)) for rank, value in enumerate(values)]


def test_a_gauge_of_many_environments_becomes_minimum_median_maximum_and_the_worst_environment() -> None:
    whole, summary, _ = both(state_of(*epochs(6)))

    assert 6 == len(points_of(whole, "tolaria.train_accuracy"))
    assert "tolaria.train_accuracy" not in summary
    assert {("default", "0"): 0.0} == points_of(summary, "tolaria.train_accuracy_min")
    assert {("default", "0"): 65.0} == points_of(summary, "tolaria.train_accuracy_median")
    assert {("default", "0"): 250.0} == points_of(summary, "tolaria.train_accuracy_max")
    assert {("default", "0"): 5.0} == points_of(summary, "tolaria.train_accuracy_worst_env")
    assert ("group_id", "rank") == summary["tolaria.train_accuracy_max"].attributes
    assert "tolaria.train_accuracy_worst_rank" not in summary


def test_a_gauge_of_four_environments_stays_whole() -> None:
    whole, summary, _ = both(state_of(*epochs(4)))

    assert points_of(whole, "tolaria.train_accuracy") == points_of(summary, "tolaria.train_accuracy")


def test_a_gauge_of_many_ranks_names_the_worst_rank_and_loses_the_attribute() -> None:
    _, summary, _ = both(state_of(*updates([0.01, 0.02, 0.9, 0.015, 0.01])))

    assert {("default",): 0.9} == points_of(summary, "tamiyo.kl_divergence_max")
    assert {("default",): 0.015} == points_of(summary, "tamiyo.kl_divergence_median")
    assert {("default",): 2.0} == points_of(summary, "tamiyo.kl_divergence_worst_rank")


def test_the_worst_lies_on_the_side_of_the_limit_whatever_is_farther_from_the_median() -> None:
    below, above = [0.5, 0.5, 0.45, 0.5, 0.99], [0.5, 0.5, 0.55, 0.5, 0.01]
    pairs = enumerate(zip(below, above, strict=True))
    events = [(rank, PolicyUpdate(explained_variance=low, bellman_error=high)) for rank, (low, high) in pairs]
    _, summary, _ = both(state_of(*events))

    assert {("default",): 2.0} == points_of(summary, "tamiyo.explained_variance_worst_rank")
    assert {("default",): 2.0} == points_of(summary, "tamiyo.bellman_error_worst_rank")


def test_ranks_and_environments_together_name_both_of_the_worst() -> None:
    events = [one for rank in range(5) for one in epochs(6, rank)]
    bad = EpochCompleted(env_id=3, train_accuracy=-900.0)
    _, summary, _ = both(state_of(*events, (4, bad)))

    assert {("default",): 4.0} == points_of(summary, "tolaria.train_accuracy_worst_rank")
    assert {("default",): 3.0} == points_of(summary, "tolaria.train_accuracy_worst_env")


def test_counters_and_histograms_are_added_up_under_their_own_name() -> None:
    events: list[tuple[int, Event]] = [
        (rank, EpisodeOutcome(env_id=env, episode_reward=float(env))) for rank in range(2) for env in range(3)
    ]
    whole, summary, _ = both(state_of(*events, *epochs(3)))

    added_up = [n for n, f in summary.items() if f.instrument in {"counter", "histogram"} and n not in NEEDED]
    assert {"simic.episodes", "tolaria.epoch.duration"} <= set(added_up)
    for name in added_up:
        assert total(whole[name]) == pytest.approx(total(summary[name])), name
        assert not {"rank", "env_id"} & set(summary[name].attributes), name


def total(family: Family) -> list[float]:
    """Sum of a counter; count, sum and each bucket of a histogram."""
    points = list(family.points.values())
    if isinstance(points[0], HistogramPoint):
        rows = [[point.count, point.sum, *point.counts] for point in points]  # type: ignore[union-attr]
        return [float(sum(column)) for column in zip(*rows, strict=True)]
    return [float(sum(points))]  # type: ignore[arg-type]


def test_what_alerts_and_recording_rules_need_is_the_same_in_both_modes() -> None:
    events = [one for rank in range(6) for one in epochs(6, rank)]
    norms: list[tuple[int, Event]] = [(rank, PolicyUpdate(pre_clip_grad_norm=1.0 + rank)) for rank in range(6)]
    whole, summary, _ = both(state_of(*events, *norms, (0, TrainingStarted(n_envs=6))))

    kept = NEEDED & set(whole) | {"esper.run.info"}
    assert {"tolaria.val_loss", "tamiyo.pre_clip_grad_norm", "esper.events"} <= kept
    assert len(kept) > 20
    assert {name: whole[name] for name in kept} == {name: summary[name] for name in kept}


def test_points_that_a_summary_replaced_are_counted() -> None:
    whole, summary, replaced = both(state_of(*epochs(6)))

    gone = [name for name in whole if name not in summary or whole[name] != summary[name]]
    assert gone
    assert sum(len(whole[name].points) for name in gone) == replaced


def test_a_run_of_one_rank_and_one_environment_has_nothing_to_summarise() -> None:
    whole, summary, replaced = both(state_of(*epochs(1), *updates([0.1])))

    assert (whole, 0) == (summary, replaced)


def test_a_metric_whose_summary_would_have_the_name_of_another_one_stays_whole() -> None:
    declared = (
        '{"event_type":"TOLARIA_MINE","domain":"tolaria","description":"Mine.","severity":"info","fields":['
        '{"name":"mine","type":"number","description":"Mine.","metrics":[{"instrument":"gauge"}]},'
        '{"name":"mine_max","type":"number","description":"Its largest.","metrics":[{"instrument":"gauge"}]}]}'
    )
    custom.learn(EventDeclared(declared="TOLARIA_MINE", declaration=declared))
    cls = custom.class_named("TOLARIA_MINE")
    assert cls is not None
    _, summary, _ = both(state_of(*((rank, cls(mine=1.0, mine_max=2.0)) for rank in range(6))))

    assert 6 == len(points_of(summary, "tolaria.mine"))
    assert {("default",): 2.0} == points_of(summary, "tolaria.mine_max_max")


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as receiver:
        yield receiver


def recorded(directory: Path, ranks: int = 6) -> Path:
    for rank in range(ranks):
        telemetry = esper_otel.configure(
            telemetry_dir=directory, run_id="run", rank=rank, world_size=ranks, relay=False
        )
        esper_otel.emit(TrainingStarted(task="test", n_envs=1))
        for number in range(3):
            esper_otel.emit(PolicyUpdate(kl_divergence=0.01 * rank, pre_clip_grad_norm=1.0, batch=number))
        esper_otel.shutdown()
    return telemetry.run_dir


def served(run: Path, *options: str, **env: str) -> tuple[dict[Any, float], dict[str, Any], str]:
    """Samples, run.json and console output of a relay that read the whole run."""
    with relay(run, "--linger", "600", *options, **env) as process:
        url = announced_url(run, process.pid)
        text = wait_for(lambda: (t := scrape(url)) and "esper_run_ends_total" in t and scrape(url), "the whole run")
        noted = manifest(run)["relay"]
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE_S)
    return samples(text), noted, said


def names(found: dict[Any, float]) -> set[str]:
    return {name for name, _ in found}


def test_the_relay_serves_and_sends_the_same_summary_and_says_so(tmp_path: Path, receiver: OtlpReceiver) -> None:
    run = recorded(tmp_path)

    found, noted, said = served(run, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.http_endpoint, ESPER_OTEL_METRICS="summary")

    group = (("group_id", "default"),)
    assert 0.05 == found["tamiyo_kl_divergence_max", group]
    assert 5.0 == found["tamiyo_kl_divergence_worst_rank", group]
    assert "tamiyo_kl_divergence" not in names(found)
    assert "summary" == noted["metrics"]
    assert "ranks and environments are exported as their summary" in said
    assert found["esper_relay_left_out_total", (("signal", "metrics"),)] > 0
    sent = {metric.name for metric in receiver.metrics}
    assert {"tamiyo.kl_divergence_median", "tamiyo.pre_clip_grad_norm"} <= sent
    assert "tamiyo.kl_divergence" not in sent


def test_a_later_relay_exports_everything_from_the_same_stored_state(tmp_path: Path) -> None:
    run = recorded(tmp_path)
    served(run, "--metrics", "summary")

    found, noted, _ = served(run, "--metrics", "all", ESPER_OTEL_METRICS="summary")

    assert 6 == sum(name == "tamiyo_kl_divergence" for name, _ in found)
    assert "metrics" not in noted
    assert not any(name.endswith("_worst_rank") for name in names(found))
    assert ("esper_relay_left_out_total", (("signal", "metrics"),)) not in found


def test_an_unknown_choice_is_refused_with_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--metrics \(ESPER_OTEL_METRICS\): expected all or summary, not 'some'"):
        metrics_option(environment={"ESPER_OTEL_METRICS": "some"})
    with relay(tmp_path, "--metrics", "some") as process:
        _, said = process.communicate(timeout=PATIENCE_S)
    assert 2 == process.returncode
    assert "expected all or summary" in said


def test_a_run_tells_of_a_bad_choice_at_its_start_and_the_relay_does_without() -> None:
    kept, problems = checked_environment({"ESPER_OTEL_METRICS": "less"})

    assert {} == kept
    assert ["ESPER_OTEL_METRICS='less' must be one of all, summary. All metrics are exported."] == problems


def test_doctor_shows_the_summary_and_a_wrong_choice(tmp_path: Path) -> None:
    code = "import sys; sys.argv[0] = 'esper-otel'; from esper_otel.cli import main; main()"

    def lines(**variables: str) -> list[str]:
        command = [sys.executable, "-c", code, "doctor", str(tmp_path)]
        env = python_environment(**variables)
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
        return [line for line in done.stdout.splitlines() if "environments are exported" in line or "--metrics" in line]

    assert [] == lines()
    [chosen] = lines(ESPER_OTEL_METRICS="summary")
    assert "summary: ranks and environments are exported as their minimum, median, maximum and worst" in chosen
    [wrong] = lines(ESPER_OTEL_METRICS="less")
    assert wrong.startswith("BAD")
