"""Rules of the diagnosis: each finds its fault, and leaves alone what is just within its limit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from esper_otel.alerts.kinds import BY_NAME
from esper_otel.alerts.memory import RECOMPILATIONS_OF_A_FUNCTION
from esper_otel.alerts.promql import threshold
from esper_otel.diagnosis.diagnose import diagnose
from esper_otel.diagnosis.finding import Diagnosis, Grade
from esper_otel.log.locks.lock import WriterLock
from tests.diagnosis.made import Line, line, phases, policy, run, training

KL = threshold("tamiyo.kl_violations")
NORM = threshold("tamiyo.grad_norm_violations")
ALERT = BY_NAME["TamiyoKlHigh"]


def memory(*mebibytes: float) -> list[Line]:
    return [
        line("TOLARIA_INFRASTRUCTURE_SNAPSHOT", 2 * n, device="cpu", process_memory_bytes=int(value * 2**20))
        for n, value in enumerate(mebibytes)
    ]


def throughput(wait_ms: float) -> list[Line]:
    return [
        line("TOLARIA_THROUGHPUT", 2 * n, samples=64, step_time_ms=20.0, dataloader_wait_ms=wait_ms) for n in range(3)
    ]


def layers(spread: float, zeros: dict[str, float]) -> list[Line]:
    norms = dict.fromkeys(zeros, 1.0)
    fields = {"model": "Net", "norm_spread": spread, "norm_per_layer": norms, "zero_fraction_per_layer": zeros}
    return [line("TOLARIA_GRADIENT_STATS", 2 * n, dead_layer_count=0, **fields) for n in range(3)]


def recompilations(count: int, functions: int) -> list[Line]:
    names = [f"f{n % functions}" for n in range(count)]
    return [line("TOLARIA_RECOMPILATION", n, function=name, compile_time_s=0.1) for n, name in enumerate(names)]


def heads(op: float, slot: float) -> list[Line]:
    return policy(head_entropy={"op": op, "slot": slot})


def episodes(reward: Callable[[int], float]) -> list[Line]:
    return [line("EPISODE_OUTCOME", n, env_id=0, episode_idx=n, episode_reward=reward(n)) for n in range(40)]


def ranks(own: float, waiting: float) -> list[Line]:
    """Three ranks whose second one takes ``own`` s before backward, and ``waiting`` s in it."""
    usual = [phases(rank, before_backward=0.010, backward=0.025, optimizer_step=0.001) for rank in (0, 2)]
    slow = phases(1, before_backward=own, backward=waiting, optimizer_step=0.001)
    return [each for part in (*usual, slow, *(training(rank=rank) for rank in range(3))) for each in part]


def every(share: float, bad: Any, good: Any) -> Callable[[int], Any]:
    """``bad`` in the first ``share`` of sixty updates."""
    return lambda number: bad if number < round(share * 60) else good


HIGH_KL = float(KL.warning_above or 0) * 1.01
SHARE = ALERT.share.above if ALERT.share else 0.0
CASES: dict[str, tuple[list[Line], list[Line]]] = {
    "exploding_gradients": (
        policy(pre_clip_grad_norm=every(1 / 60, NORM.critical_above * 1.01, 1.0)),
        policy(pre_clip_grad_norm=every(1 / 60, NORM.critical_above, 1.0)),
    ),
    "vanishing_gradients": (
        training() + layers(1.1e6, {"a": 0.0, "b": 0.0}),
        training() + layers(0.9e6, {"a": 0.0, "b": 0.0}),
    ),
    "dead_layers": (
        training() + layers(2.0, {"a": 1.0, "b": 0.1, "c": 0.1}),
        training() + layers(2.0, {"a": 0.99, "b": 0.1, "c": 0.1}),
    ),
    "non_finite": (training(loss=every(1 / 60, "NaN", 1.0)), training()),
    "loss_diverged": (
        training(loss=lambda n: 1.0 if n < 30 else 3.1),
        training(loss=lambda n: 1.0 if n < 30 else 2.9),
    ),
    "kl_high": (
        policy(kl_divergence=every(SHARE + 0.05, HIGH_KL, 0.01)),
        policy(kl_divergence=every(SHARE, HIGH_KL, 0.01)),
    ),
    "clip_high": (policy(clip_fraction=0.66), policy(clip_fraction=0.65)),
    "policy_ratio": (policy(ratio_max=10.1), policy(ratio_max=10.0)),
    "entropy_collapsed": (heads(0.5, 0.09), heads(0.5, 0.11)),
    "entropy_coefficient": (policy(entropy_coef=every(1 / 60, -0.01, 0.01)), policy(entropy_coef=0.0)),
    "critic_failing": (policy(120, explained_variance=-0.01), policy(120, explained_variance=0.01)),
    "advantages_degenerate": (policy() + episodes(lambda n: 0.0), policy() + episodes(lambda n: float(n == 39))),
    "straggler": (ranks(0.025, 0.010), ranks(0.0125, 0.0225)),
    "input_bound": (training() + throughput(10.1), training() + throughput(9.9)),
    "memory_growth": (
        training() + memory(*(500 + 20 * n for n in range(10))),
        training() + memory(*[500] * 3, *[700] * 7),
    ),
    "recompilation_storm": (
        training() + recompilations(21, functions=4),
        training() + recompilations(20, functions=4),
    ),
}


def rising(count: int, start: float) -> list[Line]:
    """A loop whose loss begins at ``start`` and is between 1.01 and 1.2 from its fourth update on."""
    return training(count, loss=lambda n: start if n < 3 else 1.01 + 0.19 * n / count)


def test_a_loss_that_was_never_below_its_beginning_is_found_in_a_long_run(tmp_path: Path) -> None:
    assert kinds(diagnose(run(tmp_path / "long", rising(120, 1.0)))) == {"loss_diverged"}
    assert kinds(diagnose(run(tmp_path / "short", rising(90, 1.0)))) == set()
    assert kinds(diagnose(run(tmp_path / "fell", rising(120, 1.1)))) == set()


def test_a_loss_whose_first_values_differ_by_more_than_it_rose_is_left_alone(tmp_path: Path) -> None:
    firsts = {0: 1.0, 1: 0.95, 2: 1.3}
    noisy = training(120, loss=lambda n: firsts.get(n, 1.01 + 0.19 * n / 120))

    assert kinds(diagnose(run(tmp_path / "noisy", noisy))) == set()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {"loss_diverged"}),
        ({6: 1.9}, set()),  # no jump
        ({100: 2.2}, set()),  # a larger one later: its values are that noisy
        (dict.fromkeys(range(20, 120, 4), 0.95), set()),  # as low as at first, now and then
        (dict.fromkeys(range(60, 72), 0.95), set()),  # a tenth of the run below its start
    ],
)
def test_a_loss_that_was_thrown_out_and_never_came_back_is_found_however_little_it_is_above_its_start(
    changed: dict[int, float], expected: set[str], tmp_path: Path
) -> None:
    losses = {0: 1.0, 1: 1.1, 2: 0.95, 3: 0.9, 6: 2.1} | changed
    lines = training(120, loss=lambda n: losses.get(n, 1.02))

    assert kinds(diagnose(run(tmp_path / "run", lines))) == expected


@pytest.mark.parametrize(
    ("left", "exploded", "severity"),
    [(0.5, 1, Grade.WARNING), (0.5, 2, Grade.CRITICAL), (100.0, 1, Grade.CRITICAL), (None, 1, Grade.CRITICAL)],
)
def test_a_single_explosion_that_clipping_cut_is_a_warning(
    left: float | None, exploded: int, severity: Grade, tmp_path: Path
) -> None:
    lines = training(
        100,
        pre_clip_grad_norm=lambda n: 900.0 if n < exploded else 50.0,
        grad_norm_excess=lambda n: 11.0 if n < exploded else 0.9,
        grad_norm=left,
    )
    (finding,) = diagnose(run(tmp_path / "run", lines)).findings

    assert (finding.kind, finding.severity) == ("exploding_gradients", severity)


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (1e-6, {"exploding_gradients": Grade.WARNING}),
        (0.1, {"exploding_gradients": Grade.CRITICAL, "loss_diverged": Grade.WARNING}),
    ],
)
def test_an_explosion_from_which_the_loss_recovers_is_a_warning_where_it_is_one_of_a_thousand_updates(
    last: float, expected: dict[str, Grade], tmp_path: Path
) -> None:
    lines = training(
        3000,
        loss=lambda n: 2.3 if n < 5 else 1e-8 if n < 1500 else 0.2 if n < 1520 else last,
        pre_clip_grad_norm=lambda n: 8.0 if n == 1500 else 1e-6,
        grad_norm_excess=lambda n: 26.0 if n == 1500 else 0.0,
        grad_norm=None,
    )
    found = diagnose(run(tmp_path / "run", lines)).findings

    assert expected == {each.kind: each.severity for each in found}


def test_a_loss_beside_a_policy_or_another_optimizer_is_no_measure_of_progress(tmp_path: Path) -> None:
    rival = training(120, optimizer="1")
    assert kinds(diagnose(run(tmp_path / "policy", rising(120, 1.0) + policy()))) == set()
    assert kinds(diagnose(run(tmp_path / "rivals", rising(120, 1.0) + rival))) == set()


def test_memory_that_training_frees_at_its_end_is_still_a_leak_before_it(tmp_path: Path) -> None:
    leak = memory(*(500 + 20 * n for n in range(10)), 480)

    assert kinds(diagnose(run(tmp_path / "leak", training() + leak))) == {"memory_growth"}


def kinds(found: Diagnosis) -> set[str]:
    return {finding.kind for finding in found.findings if finding.severity is not Grade.INFO}


@pytest.mark.parametrize("kind", CASES)
def test_a_fault_is_the_only_finding_and_just_within_the_limit_there_is_none(kind: str, tmp_path: Path) -> None:
    beyond, within = CASES[kind]

    assert kinds(diagnose(run(tmp_path / "beyond", beyond))) == {kind}
    healthy = diagnose(run(tmp_path / "within", within))
    assert kinds(healthy) == set()
    assert healthy.verdict.startswith("Healthy: ")


def collapsing(at: int, kl_at: int, kl: float) -> list[Line]:
    """A policy whose entropy is gone from update ``at`` on, with one larger KL in update ``kl_at``."""
    return policy(
        kl_divergence=lambda n: kl if n == kl_at else 0.01,
        entropy=lambda n: 0.6 if n < at else 0.01,
    )


@pytest.mark.parametrize(
    ("kl_at", "kl", "found"),
    [
        (29, HIGH_KL, {"entropy_collapsed", "kl_high"}),
        (29, float(KL.warning_above or 0), {"entropy_collapsed"}),
        (45, HIGH_KL, {"entropy_collapsed"}),  # the consequence of a collapse is no cause
    ],
)
def test_one_step_too_large_is_the_cause_of_a_collapse_that_follows_it(
    kl_at: int, kl: float, found: set[str], tmp_path: Path
) -> None:
    diagnosis = diagnose(run(tmp_path / "run", collapsing(30, kl_at, kl)))

    assert kinds(diagnosis) == found
    (collapse,) = (each for each in diagnosis.findings if each.kind == "entropy_collapsed")
    step = "An update moved the policy too far before: KL 0.151, round 30, 2026-03-01 12:00:29 UTC."
    assert collapse.cause == (step if "kl_high" in found else "")


@pytest.mark.parametrize(("updates", "found"), [(99, {"kl_high"}), (100, set())])
def test_a_single_kl_beyond_the_critical_limit_is_found_unless_a_hundred_others_are_not(
    updates: int, found: set[str], tmp_path: Path
) -> None:
    exploded = float(KL.critical_above or 0) * 1.01
    lines = policy(updates, kl_divergence=lambda n: exploded if n == 50 else 0.01)

    assert kinds(diagnose(run(tmp_path / "run", lines))) == found


def test_a_slow_rank_is_named_with_its_phase_and_its_own_time(tmp_path: Path) -> None:
    (finding,) = diagnose(run(tmp_path / "run", ranks(0.025, 0.010))).findings

    assert finding.who == {"rank": "1", "phase": "before_backward"}
    assert [figure.text for figure in finding.evidence][:2] == [
        "own time of rank 1 26 ms",
        "own time of the next slowest 11 ms",
    ]


@pytest.mark.parametrize(("is_running", "found"), [(True, [("1", "in the last 10 s")]), (False, [])])
def test_a_rank_that_is_slow_since_a_moment_ago_is_named_while_the_run_goes_on(
    is_running: bool, found: list[tuple[str, str]], tmp_path: Path
) -> None:
    lines = [each for rank in range(3) for each in training(rank=rank)]
    for rank in range(3):
        durations = phases(rank, reports=60, before_backward=0.010, backward=0.025, optimizer_step=0.001)
        for report in durations[-2:] if rank == 1 else ():
            report["data"]["durations_s"] = {"before_backward": [0.030] * 20, "backward": [0.005] * 20}
        lines += durations
    directory = run(tmp_path / "run", lines)
    lock = WriterLock(directory / ".writer.rank0.lock")
    if is_running:
        lock.acquire()

    result = diagnose(directory)

    lock.release()
    assert [(finding.who["rank"], finding.when) for finding in result.findings if finding.kind == "straggler"] == found


@pytest.mark.parametrize(("slow", "found"), [(20, [("1", "in the last 30 s")]), (0, [])])
def test_a_rank_of_slow_steps_is_judged_by_as_many_of_the_last_ones_as_of_fast_steps(
    slow: int, found: list[tuple[str, str]], tmp_path: Path
) -> None:
    lines = [each for rank in range(3) for each in training(rank=rank)]
    for rank in range(3):
        for second in range(300):
            is_slow = rank == 1 and second >= 300 - slow
            own, waiting = (0.6, 0.1) if is_slow else (0.2, 0.5)
            durations = {"before_backward": [own], "backward": [waiting]}
            lines.append(line("TOLARIA_PHASE_DURATIONS", second, rank, step=second, durations_s=durations))
    directory = run(tmp_path / "run", lines)
    lock = WriterLock(directory / ".writer.rank0.lock")
    lock.acquire()

    result = diagnose(directory)

    lock.release()
    assert [(finding.who["rank"], finding.when) for finding in result.findings if finding.kind == "straggler"] == found


def test_a_rank_that_is_slow_without_anybody_waiting_for_it_is_no_straggler(tmp_path: Path) -> None:
    assert kinds(diagnose(run(tmp_path / "run", ranks(0.025, 0.025)))) == set()


def test_a_rank_without_an_end_is_missing_when_another_has_one(tmp_path: Path) -> None:
    end = line("RUN_ENDED", 61, outcome="failed", detail="ConnectionError: peer closed", reported_by="trainer")
    found = diagnose(run(tmp_path / "run", training(), training(40, rank=1), [end]))

    assert kinds(found) >= {"rank_missing", "run_failed"}
    missing = next(finding for finding in found.findings if finding.kind == "rank_missing")
    assert missing.who == {"rank": "1"}
    assert missing.when == "last heard of at 2026-03-01 12:00:39 UTC"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        (("died", "finished"), set()),
        (("failed", "finished"), set()),
        (("interrupted", "finished"), set()),
        (("finished", "died"), {"run_died"}),
        (("died", "failed"), {"run_failed"}),
    ],
)
def test_a_run_that_was_continued_ended_as_its_last_session_did(
    outcomes: tuple[str, str], expected: set[str], tmp_path: Path
) -> None:
    first, last = (line("RUN_ENDED", 61 + n, outcome=name, detail="x") for n, name in enumerate(outcomes))

    assert kinds(diagnose(run(tmp_path / "run", training(), [first, last]))) == expected


def test_of_a_log_without_an_end_and_without_a_directory_s_word_the_end_is_not_judged(tmp_path: Path) -> None:
    ended = run(tmp_path / "ended", training(), [line("RUN_ENDED", 61, outcome="finished")])
    cut = run(tmp_path / "cut", training())

    found = {
        path.name: [text for text in diagnose(path).not_judged if text.startswith("end:")] for path in (ended, cut)
    }
    assert {"ended": 0, "cut": 1} == {name: len(texts) for name, texts in found.items()}


def test_what_preceded_the_first_nan_is_part_of_its_evidence(tmp_path: Path) -> None:
    found = diagnose(run(tmp_path / "run", training(loss=lambda n: "NaN" if n == 40 else 0.5)))

    (finding,) = found.findings
    assert finding.when == "first at 2026-03-01 12:00:40 UTC"
    assert "loss before 0.5" in [figure.text for figure in finding.evidence]
    assert finding.cause == "the update before was ordinary: look at its input"


def test_one_function_at_the_limit_of_torch_is_a_storm_by_itself(tmp_path: Path) -> None:
    limit = RECOMPILATIONS_OF_A_FUNCTION

    found = diagnose(run(tmp_path / "at", training() + recompilations(limit, functions=1)))

    assert kinds(found) == {"recompilation_storm"}
    assert kinds(diagnose(run(tmp_path / "under", training() + recompilations(limit - 1, functions=1)))) == set()


def test_the_updates_that_a_short_run_lacks_count_as_good_ones(tmp_path: Path) -> None:
    """A share of 5 % of at least 20 updates leaves room for one, however short the run."""
    beyond = float(threshold("tamiyo.policy_ratio_violations").critical_above or 0) * 1.01

    def updates(bad: int) -> list[Line]:
        return policy(10, ratio_max=lambda n: beyond if n < bad else 1.1)

    assert kinds(diagnose(run(tmp_path / "two", updates(2)))) == {"policy_ratio"}
    assert kinds(diagnose(run(tmp_path / "one", updates(1)))) == set()


def test_memory_that_grows_with_the_steps_is_a_leak_even_where_the_steps_come_unevenly(tmp_path: Path) -> None:
    """A busy machine trains in bursts: by the clock the growth is a staircase, by the steps it is a line."""
    steps = [0, 10, 20, 30, 40, 50, 60, 370, 380, 390, 400, 410]

    def leaking(step: Callable[[int], int | None]) -> list[Line]:
        return [
            line(
                "TOLARIA_INFRASTRUCTURE_SNAPSHOT",
                2 * n,
                device="cpu",
                batch_idx=step(n),
                process_memory_bytes=(500 + taken) * 2**20,
            )
            for n, taken in enumerate(steps)
        ]

    assert kinds(diagnose(run(tmp_path / "by_step", training() + leaking(lambda n: steps[n])))) == {"memory_growth"}
    assert kinds(diagnose(run(tmp_path / "by_time", training() + leaking(lambda n: None)))) == set()


def test_too_few_updates_are_no_verdict(tmp_path: Path) -> None:
    found = diagnose(run(tmp_path / "run", training(9)))

    assert not found.is_judged
    assert found.verdict == "Too little for a verdict: 9 updates, and 10 are needed."


def test_every_query_of_a_finding_runs_and_has_rows(tmp_path: Path) -> None:
    from esper_otel.sql import connect

    for kind, (beyond, _) in CASES.items():
        directory = run(tmp_path / kind, beyond)
        for finding in diagnose(directory).findings:
            with connect(directory, query=finding.query) as connection:
                assert connection.execute(finding.query).fetchall(), finding.query


def test_an_event_under_its_old_and_its_new_name_is_no_line_that_could_not_be_used(tmp_path: Path) -> None:
    directory = run(tmp_path / "run", training())
    log = directory / "events.jsonl"
    log.write_text("".join(2 * each for each in log.read_text().splitlines(keepends=True)))

    assert kinds(diagnose(directory)) == set()
