"""Alerts about the ranks of one training: one that is slow, one that has stopped."""

from typing import Final

from esper_otel.alerts.alert import Alert, text
from esper_otel.alerts.promql import ARM, RUN, aggregated, metric, series, while_running, windowed

_OVER: Final = "5m"
_WAITS: Final = "backward"
"""Phase in which every rank of a data-parallel model waits for the last one."""

_PHASE: Final = (*ARM, "rank", "phase")
_RANK: Final = (*ARM, "rank")


def _mean(*by: str, **labels: str) -> str:
    """Mean time of a pass, s."""
    parts = (
        windowed("rate", metric("tolaria.step_phase.duration", part, **labels), _OVER) for part in ("sum", "count")
    )
    total, count = (aggregated("sum", part, by) for part in parts)
    return f"({total} / {count})"


def _on(labels: tuple[str, ...]) -> str:
    return f"on ({', '.join(labels)})"


_OWN: Final = _mean(*_PHASE, phase=f"!{_WAITS}")
_USUAL: Final = aggregated("quantile", f"0.5, {_OWN}", (*ARM, "phase"))
_WAIT: Final = _mean(*_RANK, phase=_WAITS)
_STEP: Final = aggregated("quantile", f"0.5, {aggregated('sum', _mean(*_PHASE), _RANK)}", ARM)
_HEARD: Final = aggregated("max", metric("esper.last_heartbeat.timestamp"), (*RUN, "rank"))
_NEWEST: Final = aggregated("max", metric("esper.last_heartbeat.timestamp"), RUN)
_ENDED: Final = aggregated("max", metric("esper.run_ends"), (*RUN, "rank"))


def _phase(phase: str, rank: str, total: str) -> dict[str, str]:
    """Series of one phase of one rank: ``total`` seconds a step, one step a second."""
    labels = {"phase": phase, "rank": rank}
    return {
        series("tolaria.step_phase.duration", "sum", **labels): total,
        series("tolaria.step_phase.duration", "count", **labels): "0+15x240",
    }


def _ranks(own: str, waits: str) -> dict[str, str]:
    """Three ranks, the last with these totals of its own work and of its wait; the others 0.1 s and 0.3 s a step."""
    usual = [_phase("before_backward", rank, "0+1.5x240") | _phase(_WAITS, rank, "0+4.5x240") for rank in "01"]
    return usual[0] | usual[1] | _phase("before_backward", "2", own) | _phase(_WAITS, "2", waits)


ALERTS: Final = (
    Alert(
        name="TolariaStraggler",
        domain="tolaria",
        severity="warning",
        concern="throughput",
        by=_PHASE,
        expr=text(f"""
            ({_OWN} - {_on((*ARM, "phase"))} group_left () {_USUAL}) / {_on(ARM)} group_left () {_STEP} > 0.2
            and {_on(_RANK)} ({_WAIT} < {_on(ARM)} group_left () {aggregated("quantile", f"0.5, {_WAIT}", ARM)})
        """),
        hold="5m",
        summary=text("""
            Rank {{ $labels.rank }} of {{ $labels.instance }} is slow in {{ $labels.phase }}: it costs the others
            {{ $value | humanizePercentage }} of each step
        """),
        reason=text("""
            A fifth of the step is beyond what ranks with equal work differ by, and as the diagnosis judges. That it
            waits less than the others in the backward pass, where all wait for the last one, shows that it is the
            cause.
        """),
        meaning="One rank does its own work more slowly than the others, which wait for it in every step.",
        look=(
            _OWN,
            _WAIT,
        ),
        sql=text("""
            SELECT rank, p AS phase, median(list_avg(durations_s[p])) AS seconds FROM (SELECT rank, durations_s,
            unnest(map_keys(durations_s)) AS p FROM tolaria_phase_durations) GROUP BY ALL ORDER BY ALL
        """),
        act=text("""
            Look at the named phase of that rank: its share of the data, its disk, its clocks, other programs on its
            machine. `esper-otel stacks RUN --rank N` shows where it is. Take the node out if it is slow with any work.
        """),
        sample={"rank": "2", "phase": "before_backward"},
        fires=_ranks(own="0+4.5x240", waits="0+1.5x240"),
        quiet=_ranks(own="0+1.6x240", waits="0+4.4x240"),
    ),
    Alert(
        name="EsperRankStopped",
        domain="esper",
        severity="critical",
        concern="progress",
        by=(*RUN, "rank"),
        expr=while_running(
            f"(time() - {_HEARD} > 30 and {_on(RUN)} time() - {_NEWEST} < 30 unless {_on((*RUN, 'rank'))} {_ENDED} > 0)"
        ),
        hold="1m",
        summary=text("""
            Rank {{ $labels.rank }} of {{ $labels.instance }} has stopped: its last heartbeat is
            {{ $value | humanizeDuration }} old
        """),
        reason=text("""
            A thread of every rank sends a heartbeat each 5 s: after 30 s six are missing, while another rank of the
            same run still sends its own. A rank that once ended its part is left out: it may have been the last one.
        """),
        meaning="One rank has stopped while the others go on or wait for it.",
        look=(metric("esper.last_heartbeat.timestamp"),),
        sql="SELECT rank, max(timestamp) AS newest FROM heartbeat GROUP BY rank ORDER BY newest",
        act=text("""
            `esper-otel diagnose RUN` names the rank, its phase and its stack; `esper-otel stacks RUN --rank N` reads it
            now. A process in state T was stopped, one in state D waits for a disk; another one holds the interpreter
            lock. Continue or kill it: the others wait until their collective times out.
        """),
        is_symptom=True,
        sample={"rank": "1"},
        fires={
            series("esper.run.status", esper_run_state="running"): "1x400",
            series("esper.last_heartbeat.timestamp", rank="0"): "0+15x400",
            series("esper.last_heartbeat.timestamp", rank="1"): "0+15x40 600x360",
        },
        quiet={
            series("esper.run.status", esper_run_state="running"): "1x400",
            series("esper.last_heartbeat.timestamp", rank="0"): "0+15x400",
            series("esper.last_heartbeat.timestamp", rank="1"): "0+15x400",
        },
    ),
)
