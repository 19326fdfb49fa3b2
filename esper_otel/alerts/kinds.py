"""The kinds of findings of a diagnosis: those that an alert is about have its texts, and the rest stand here.

A diagnosis reads the whole log at once, so that it finds what no expression over a window can: a rank that others wait
for, a loss that left its course. The limits of those stand in the functions that judge by them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.alerts import ALERTS
from esper_otel.alerts.alert import Alert, text
from esper_otel.alerts.promql import Share

BY_NAME: Final[dict[str, Alert]] = {alert.name: alert for alert in ALERTS}
"""Every alert by its name."""


def share_of(alert: str) -> Share:
    """The limit of an alert about a share.

    Raises:
        ValueError: the alert is about something else.
    """
    share = BY_NAME[alert].share
    if share is None:
        raise ValueError(f"the alert {alert} has no limit of a share")
    return share


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of finding.

    Attributes:
        name: its name in JSON.
        meaning: what it says about the run.
        act: what to do.
        alert: alert that is about the same, whose runbook entry says more; empty for none.
    """

    name: str
    meaning: str
    act: str
    alert: str = ""


def of(name: str, alert: str) -> Kind:
    """The kind ``name`` with the texts of an alert."""
    row = BY_NAME[alert]
    return Kind(name=name, meaning=row.meaning, act=row.act, alert=alert)


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        of("run_died", "EsperRunDied"),
        of("run_failed", "EsperRunFailed"),
        of("run_stalled", "EsperRunStalled"),
        Kind(
            name="run_interrupted",
            meaning="Somebody or something stopped the training before its end.",
            act="Resume it from its last checkpoint if that was not intended.",
        ),
        of("non_finite", "TolariaNonFiniteUpdate"),
        of("exploding_gradients", "TamiyoGradNormExploded"),
        of("vanishing_gradients", "TamiyoGradNormVanishing"),
        Kind(
            name="dead_layers",
            meaning="Layers of the network get no gradient: they no longer learn.",
            act=text("""
                Look at the inputs and the bias of the first of these layers. A rectifier that is below 0 for every
                input stays so: lower the learning rate, change the initialisation, or use a leaky one.
            """),
        ),
        Kind(
            name="loss_diverged",
            meaning="The loss left its course and ended far above where it had been.",
            act=text("""
                Resume from the checkpoint before it with a smaller learning rate; look at what changed then: the data,
                the schedule, the sign of a term.
            """),
        ),
        of("updates_skipped", "TamiyoUpdatesSkipped"),
        of("kl_high", "TamiyoKlHigh"),
        of("clip_high", "TamiyoClipFractionHigh"),
        of("policy_ratio", "TamiyoRatioExploded"),
        of("entropy_collapsed", "TamiyoHeadEntropyCollapsed"),
        Kind(
            name="entropy_coefficient",
            meaning="The entropy bonus has the wrong sign: the policy is trained to stop exploring.",
            act=text("""
                Make the coefficient positive, or 0 for no bonus: the loss is that of the policy and the critic minus
                the coefficient times the entropy. Resume from before the entropy fell.
            """),
        ),
        of("critic_failing", "TamiyoExplainedVarianceLow"),
        Kind(
            name="advantages_degenerate",
            meaning="Rewards or advantages are all alike: the policy has nothing to learn from.",
            act=text("""
                Check that the environment pays a reward that the policy can change, and that no wrapper, clip or
                normalisation removes it; with a sparse reward, shape it or begin nearer to the goal.
            """),
        ),
        of("rollbacks", "TolariaRollback"),
        of("performance_degraded", "SimicPerformanceDegraded"),
        of("plateau", "TolariaPlateau"),
        of("reward_hacking", "SimicRewardHackingSuspected"),
        of("seeds_pruned", "KasminaPruneStorm"),
        of("seeds_never_permanent", "KasminaYieldLow"),
        of("input_bound", "TolariaInputBound"),
        of("gpu_idle", "GpuIdle"),
        of("memory_growth", "TolariaHostMemoryLeak"),
        of("out_of_memory", "TolariaCudaOutOfMemory"),
        of("recompilation_storm", "TolariaRecompilationStorm"),
        of("straggler", "TolariaStraggler"),
        Kind(
            name="rank_missing",
            meaning="One rank ended, or was killed, before the others, which cannot go on without it.",
            act="Read the end of that rank's log and its machine's kernel log (OOM killer, Xid); start the run again.",
        ),
        of("rank_stopped", "EsperRankStopped"),
        Kind(
            name="collective_not_entered",
            meaning="Ranks wait in a collective that one rank does not call, so that none of them goes on.",
            act=text("""
                Look at what that rank does after its last collective: a branch that only some ranks take, an exception,
                a data loader that ended early, a lock. While it lives, 'esper-otel stacks RUN --rank N' shows where it
                is.
            """),
        ),
        Kind(
            name="collective_mismatch",
            meaning="Ranks called different collectives at one place in their order: they hang or mix up their data.",
            act=text("""
                Compare the calls of those ranks: a branch that depends on the rank, parameters that only some ranks
                have, batches of different sizes, a data type that autocast changed.
            """),
        ),
        Kind(
            name="dump_unreadable",
            meaning="A file in the run's directory has the name of a dump of the Flight Recorder and is none.",
            act="Make the dump again, or remove the file. Files that can run code when they are loaded are never read.",
        ),
        Kind(
            name="ranks_differ",
            meaning="Ranks that train one model have made different numbers of updates.",
            act="Make every rank take the same number of steps: drop the last batch, or pad the shares of the data.",
        ),
        of("events_lost", "EsperEventsLost"),
        of("lines_rejected", "EsperRecordsRejected"),
        of("sensor_fault", "EsperSensorFault"),
    )
}
"""Every kind by its name."""
