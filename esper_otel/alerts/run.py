"""Alerts about the run itself: it ended badly, vanished, or makes no progress."""

from typing import Final

from esper_otel.alerts.alert import Alert, text
from esper_otel.alerts.promql import RUN, metric, series, while_running

_BY: Final = "job, instance"
_RUNNING: Final = series("esper.run.status", esper_run_state="running")
_STALLED: Final = series("esper.run.status", esper_run_state="stalled")
_DIED: Final = series("esper.run.status", esper_run_state="died")
_FINISHED: Final = series("esper.run.status", esper_run_state="finished")
_FAILED: Final = series("esper.run.status", esper_run_state="failed")
_ALIVE: Final = metric("esper.run.status", esper_run_state="~running|stalled")


def _ended(state: str) -> str:
    # The relay stays for half a minute after the end, so what it said last is looked for in the past.
    selector = metric("esper.run.status", esper_run_state=state)
    runs_again = f"{metric('esper.run.status', esper_run_state='running')} == 1"
    return f"max by ({_BY}) (max_over_time({selector}[15m])) == 1\nunless on ({_BY}) ({runs_again})"


ALERTS: Final = (
    Alert(
        name="EsperRunDied",
        domain="esper",
        severity="critical",
        concern="run",
        by=RUN,
        expr=_ended("died"),
        summary="The training process of {{ $labels.instance }} died (state died = {{ $value }})",
        reason=text("""
            The kernel released the lock on the log before the run ended. That is certain, so the alert does not wait.
        """),
        meaning=text("""
            The training process exited without ending the run: killed, out of memory, or crashed in native code.
        """),
        look=(metric("esper.run.status"), metric("tolaria.process.memory_usage"), metric("hw.gpu.memory.utilization")),
        sql="SELECT timestamp, rank, event_type, message FROM raw_events ORDER BY timestamp DESC LIMIT 20",
        act=text("""
            Read the last events of the log and the kernel's log (OOM killer, Xid). Start again with `--resume` from the
            last checkpoint.
        """),
        fires={_RUNNING: "1x120 0x4 _x100", _DIED: "0x120 1x4 _x100"},
        quiet={_RUNNING: "1x120 0x4 _x100", _FINISHED: "0x120 1x4 _x100", _DIED: "0x124 _x100"},
        at=33,
    ),
    Alert(
        name="EsperRunFailed",
        domain="esper",
        severity="critical",
        concern="run",
        by=RUN,
        expr=_ended("failed"),
        summary="{{ $labels.instance }} ended with an error (state failed = {{ $value }})",
        reason="The run reported it, so the alert does not wait.",
        meaning="Training raised an exception.",
        look=(metric("esper.run.status"), metric("esper.run_ends")),
        sql="SELECT timestamp, rank, outcome, detail FROM run_ended WHERE outcome <> 'finished'",
        act="Read `detail` of RUN_ENDED in the log: it holds the exception.",
        fires={_RUNNING: "1x120 0x4 _x100", _FAILED: "0x120 1x4 _x100"},
        quiet={_RUNNING: "1x120 0x4 1x100", _FAILED: "0x120 1x4 0x100"},
        at=33,
    ),
    Alert(
        name="EsperRunVanished",
        domain="esper",
        severity="critical",
        concern="run",
        by=RUN,
        expr=f"max by ({_BY}) (last_over_time({_ALIVE}[1h])) == 1\nunless on ({_BY}) {metric('esper.run.status')}",
        hold="2m",
        summary="{{ $labels.instance }} is no longer scraped and had not ended (alive = {{ $value }})",
        reason=text("""
            Prometheus looks back 5 min for a series, and 2 min more are 8 scrapes; a relay restarts in seconds.
        """),
        meaning="Run and relay are both gone, or Prometheus cannot reach them: the node failed, or the network did.",
        look=("up", f"last_over_time({_ALIVE}[1h])"),
        sql="SELECT timestamp, rank, event_type, message FROM raw_events ORDER BY timestamp DESC LIMIT 20",
        act=text("""
            Look at the node. If it is up, start `esper-otel relay RUN --follow`: it resumes where the last relay
            stopped.
        """),
        fires={_RUNNING: "1x120 _x200"},
        quiet={_RUNNING: "1x100 _x32 1x20 0x4 _x200", _FINISHED: "0x100 _x32 0x20 1x4 _x200"},
        at=40,
    ),
    Alert(
        name="EsperRunStalled",
        domain="esper",
        severity="critical",
        concern="progress",
        by=RUN,
        expr=f"max by ({_BY}) ({metric('esper.run.status', esper_run_state='stalled')}) == 1",
        hold="1m",
        summary="{{ $labels.instance }} is alive but makes no progress (stalled = {{ $value }})",
        reason=text("""
            The relay reports a run as stalled after 300 s without an event other than heartbeats (`--stall-after`); one
            minute more rules out a long checkpoint.
        """),
        meaning=text("""
            The training process is alive but emits nothing: a deadlock, a hung collective, a blocked file system.
        """),
        look=(
            metric("esper.last_heartbeat.timestamp"),
            metric("esper.log.pending_events"),
            metric("hw.gpu.utilization"),
        ),
        sql="SELECT rank, max(timestamp) AS newest, count(*) AS events FROM raw_events GROUP BY rank ORDER BY newest",
        act=text("""
            Run `esper-otel stacks RUN`; with several ranks, compare their newest events.
        """),
        is_symptom=True,
        fires={_RUNNING: "1x100 0x200", _STALLED: "0x100 1x200"},
        quiet={_RUNNING: "1x100 0x2 1x200", _STALLED: "0x100 1x2 0x200"},
        at=30,
    ),
    Alert(
        name="EsperNoPolicyUpdates",
        domain="esper",
        severity="warning",
        concern="progress",
        by=RUN,
        expr=while_running(f"(time() - max by ({_BY}) ({metric('tamiyo.last_update.timestamp')})) > 1800"),
        hold="1m",
        summary="The last policy update of {{ $labels.instance }} was {{ $value | humanizeDuration }} ago",
        reason=text("""
            A round of the demonstration takes seconds and one of a large host minutes; half an hour is longer than any
            round that was measured.
        """),
        meaning="The run continues but no longer updates the policy.",
        look=(metric("tamiyo.last_update.timestamp"), metric("tolaria.last_epoch.timestamp")),
        sql=text("""
            SELECT event_type, max(timestamp) AS newest, count(*) AS times FROM raw_events GROUP BY event_type ORDER BY
            newest DESC LIMIT 20
        """),
        act=text("""
            If epochs still complete, the rounds are long (raise this limit) or every update is skipped
            (TamiyoOptimizerStalled).
        """),
        is_symptom=True,
        fires={_RUNNING: "1x400", series("tamiyo.last_update.timestamp"): "0+15x40 600x360"},
        quiet={_RUNNING: "1x400", series("tamiyo.last_update.timestamp"): "0+15x400"},
    ),
    Alert(
        name="EsperHeartbeatLost",
        domain="esper",
        severity="warning",
        concern="progress",
        by=RUN,
        expr=while_running(f"(time() - max by ({_BY}) ({metric('esper.last_heartbeat.timestamp')})) > 120"),
        hold="1m",
        summary="The last heartbeat of {{ $labels.instance }} is {{ $value | humanizeDuration }} old",
        reason="A separate thread sends a heartbeat every 5 s; after two minutes 24 are missing.",
        meaning=text("""
            The thread that writes the event log does not run: the process is stopped, swapped out, or its disk hangs.
        """),
        look=(metric("esper.last_heartbeat.timestamp"), metric("esper.log.max_write_time")),
        sql=text("""
            SELECT timestamp, rank, uptime_s, pending_events, write_time_ms FROM heartbeat ORDER BY timestamp DESC LIMIT
            20
        """),
        act="Check whether the process is stopped (state T or D in `ps`); check the disk of the telemetry directory.",
        is_symptom=True,
        fires={_RUNNING: "1x400", series("esper.last_heartbeat.timestamp"): "0+15x40 600x360"},
        quiet={_RUNNING: "1x400", series("esper.last_heartbeat.timestamp"): "0+15x400"},
    ),
)
