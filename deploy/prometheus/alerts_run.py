"""Alerts about the run itself and about the telemetry that all other alerts depend on."""

from typing import Final

from deploy.prometheus.alert import Alert, on_count
from deploy.prometheus.expressions import RUN, metric, series, while_running

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


_RUN = (
    Alert(
        name="EsperRunDied",
        domain="esper",
        severity="critical",
        concern="run",
        by=RUN,
        expr=_ended("died"),
        summary="The training process of {{ $labels.instance }} died (state died = {{ $value }})",
        reason="The kernel released the lock on the log without the run having ended: that is certain, so nothing is "
        "waited for.",
        meaning="The training process is gone without having ended the run: killed, out of memory, or crashed in "
        "native code.",
        look=(metric("esper.run.status"), metric("tolaria.process.memory_usage"), metric("hw.gpu.memory.utilization")),
        sql="SELECT timestamp, rank, event_type, message FROM raw_events ORDER BY timestamp DESC LIMIT 20",
        act="Read the last events of the log and the kernel's log (OOM killer, Xid). Start again with `--resume` "
        "from the "
        "last checkpoint.",
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
        reason="The run said so itself; nothing is waited for.",
        meaning="Training raised an exception.",
        look=(metric("esper.run.status"), metric("esper.run_ends")),
        sql="SELECT timestamp, rank, outcome, detail FROM run_ended WHERE outcome <> 'finished'",
        act="RUN_ENDED in the log holds the exception in `detail`.",
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
        reason="Prometheus looks 5 min back for a series, 2 min more are 8 scrapes: a restart of the relay takes "
        "seconds.",
        meaning="Run and relay are both gone, or Prometheus cannot reach them: the node failed, or the network did.",
        look=("up", f"last_over_time({_ALIVE}[1h])"),
        sql="SELECT timestamp, rank, event_type, message FROM raw_events ORDER BY timestamp DESC LIMIT 20",
        act="Look at the node. If it lives, start `esper-otel relay RUN --follow`: it goes on where the last one was.",
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
        summary="{{ $labels.instance }} lives but makes no progress (stalled = {{ $value }})",
        reason="The relay calls a run stalled after 300 s without an event other than heartbeats (`--stall-after`); a "
        "minute more rules out a long checkpoint.",
        meaning="The training process lives but emits nothing: a deadlock, a hung collective, a blocked file system.",
        look=(
            metric("esper.last_heartbeat.timestamp"),
            metric("esper.log.pending_events"),
            metric("hw.gpu.utilization"),
        ),
        sql="SELECT rank, max(timestamp) AS newest, count(*) AS events FROM raw_events GROUP BY rank ORDER BY newest",
        act="`py-spy dump --pid PID` of the training process (its pid stands in run.json); with several ranks, "
        "compare the "
        "newest event of each.",
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
        reason="A round of the demonstration takes seconds and one of a large host minutes; half an hour is longer "
        "than "
        "any round that was measured.",
        meaning="The run goes on but the policy is no longer updated.",
        look=(metric("tamiyo.last_update.timestamp"), metric("tolaria.last_epoch.timestamp")),
        sql="SELECT event_type, max(timestamp) AS newest, count(*) AS times FROM raw_events "
        "GROUP BY event_type ORDER BY newest DESC LIMIT 20",
        act="If epochs still complete, the rounds are long (raise this limit) or every update is skipped "
        "(TamiyoOptimizerStalled).",
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
        reason="A heartbeat comes every 5 s from a thread of its own; two minutes are 24 that did not come.",
        meaning="The thread that writes the event log does not run: the process is stopped, swapped out, or its disk "
        "hangs.",
        look=(metric("esper.last_heartbeat.timestamp"), metric("esper.log.max_write_time")),
        sql="SELECT timestamp, rank, uptime_s, pending_events, write_time_ms "
        "FROM heartbeat ORDER BY timestamp DESC LIMIT 20",
        act="See whether the process is stopped (state T or D in `ps`); look at the disk of the telemetry directory.",
        is_symptom=True,
        fires={_RUNNING: "1x400", series("esper.last_heartbeat.timestamp"): "0+15x40 600x360"},
        quiet={_RUNNING: "1x400", series("esper.last_heartbeat.timestamp"): "0+15x400"},
    ),
)

_TELEMETRY = (
    Alert(
        name="EsperEventLogLag",
        domain="esper",
        severity="warning",
        concern="lag",
        by=RUN,
        expr=f"max by ({_BY}) ({metric('esper.relay.lag')}) > 60",
        hold="5m",
        summary="The relay of {{ $labels.instance }} is {{ $value | humanizeDuration }} behind the log",
        reason="The relay looks every 50 ms, so a minute behind for 5 min means that it does not keep up.",
        meaning="Metrics and alerts show the past: the relay reads more slowly than the run writes.",
        look=(metric("esper.relay.lag"), metric("esper.relay.unread"), f"rate({metric('esper.events')}[5m])"),
        sql="SELECT date_trunc('minute', timestamp) AS minute, count(*) AS events FROM raw_events "
        "GROUP BY minute ORDER BY minute DESC LIMIT 20",
        act="See whether the relay's CPU is starved (limits of the sidecar); nothing is lost, it catches up.",
        is_symptom=True,
        fires={series("esper.relay.lag"): "0x100 90x300"},
        quiet={series("esper.relay.lag"): "0x200 90x10 0x200"},
    ),
    on_count(
        "EsperEventsLost",
        "esper.log.lost_events",
        labels={},
        sample={},
        domain="esper",
        severity="warning",
        concern="loss",
        summary='{{ $value | printf "%.0f" }} event(s) of {{ $labels.instance }} were lost',
        reason="The log is built to lose nothing; one event is news.",
        meaning="The event log had to leave events out: its buffer was full, a write failed, or an event could not "
        "be encoded.",
        look=(metric("esper.log.lost_events"), metric("esper.log.pending_size"), metric("esper.log.max_write_time")),
        act="TELEMETRY_LOSS in the log says which reason and the first cause; a full disk is the usual one.",
    ),
    on_count(
        "EsperRecordsRejected",
        "esper.telemetry.rejected_records",
        labels={"reason": "!torn"},
        sample={"reason": "malformed"},
        by=RUN,
        domain="esper",
        severity="warning",
        concern="loss",
        summary='{{ $value | printf "%.0f" }} line(s) of the log of {{ $labels.instance }} became no event',
        reason="A line that was written whole is readable; a torn one is what a kill leaves, and not counted here.",
        meaning="The log holds lines that the relay could not use, by reason.",
        look=(metric("esper.telemetry.rejected_records"), metric("esper.telemetry.unknown_fields")),
        sql="SELECT reason, event_type, count(*) AS times, any_value(excerpt) AS excerpt FROM rejected_lines "
        "WHERE reason <> 'torn' GROUP BY ALL ORDER BY times DESC LIMIT 20",
        act="Unknown event types mean that the producer is newer than the relay: upgrade the relay, then replay the "
        "run.",
    ),
    Alert(
        name="EsperExportFailing",
        domain="esper",
        severity="warning",
        concern="export",
        by=(*RUN, "signal"),
        expr=f"sum by ({_BY}, signal) (increase({metric('esper.relay.export_failures')}[10m])) > 0\n"
        f"unless sum by ({_BY}, signal) (increase({metric('esper.relay.exported')}[10m])) > 0",
        hold="5m",
        summary="{{ $labels.instance }} delivered no {{ $labels.signal }} for 10 min "
        '({{ $value | printf "%.0f" }} failures)',
        reason="A failed export is tried again and costs nothing; 10 min without any success is an outage of the "
        "receiver.",
        meaning="The OTLP endpoint does not take what the relay sends.",
        look=(metric("esper.relay.export_failures"), metric("esper.relay.undelivered")),
        act="Look at the collector. Traces and logs wait in the event log and are delivered later; metrics of the "
        "outage "
        "are lost on the OTLP path.",
        fires={
            series("esper.relay.export_failures", signal="traces"): "0x100 0+1x300",
            series("esper.relay.exported", signal="traces"): "0+9x100 900x300",
        },
        quiet={
            series("esper.relay.export_failures", signal="traces"): "0+1x400",
            series("esper.relay.exported", signal="traces"): "0+9x400",
        },
        sample={"signal": "traces"},
    ),
    on_count(
        "EsperExportRefused",
        "esper.relay.refused",
        labels={},
        sample={"signal": "traces"},
        by=RUN,
        domain="esper",
        severity="warning",
        concern="export",
        summary='The OTLP receiver refused {{ $value | printf "%.0f" }} item(s) of {{ $labels.instance }} for good',
        reason="What is refused for good is lost on that path; one is enough.",
        meaning="The receiver answered with an error that must not be tried again.",
        look=(metric("esper.relay.refused"),),
        act="The relay's log names the answer: a wrong token, a body that is too large, or a limit of the tenant.",
    ),
    Alert(
        name="EsperDeliveryBacklog",
        domain="esper",
        severity="warning",
        concern="export",
        by=RUN,
        expr=f"max by ({_BY}) (min_over_time({metric('esper.relay.undelivered')}[15m])) > 256 * 1024 * 1024",
        summary="{{ $value | humanize1024 }}B of the log of {{ $labels.instance }} wait for delivery",
        reason="256 MiB are some hundred thousand events, more than a short outage of the receiver leaves behind.",
        meaning="Spans and log events are delivered more slowly than they are made.",
        look=(metric("esper.relay.undelivered"), f"rate({metric('esper.relay.exported')}[5m])"),
        sql="SELECT event_type, count(*) AS times, sum(length(data)) AS characters FROM raw_events "
        "GROUP BY event_type ORDER BY characters DESC LIMIT 20",
        act="See EsperExportFailing; otherwise the collector is too slow for the load.",
        fires={series("esper.relay.undelivered"): "0x40 400000000x300"},
        quiet={series("esper.relay.undelivered"): "0x40 400000000x20 0x300"},
    ),
    Alert(
        name="EsperSpansCut",
        domain="esper",
        severity="info",
        concern="traces",
        by=RUN,
        expr=f"sum by ({_BY}) (increase({metric('esper.relay.cut_spans')}[1h])) > 0",
        summary='{{ $value | printf "%.0f" }} span(s) of {{ $labels.instance }} did not fit into their traces in 1 h',
        reason="A trace holds 1,000 spans by design; what is cut is only in the log and in the metrics.",
        meaning="Rounds have more spans than a trace may hold.",
        look=(metric("esper.relay.cut_spans"),),
        sql="SELECT group_id, env_id, episode_idx, count(*) AS epochs FROM tolaria_epochs "
        "GROUP BY ALL ORDER BY epochs DESC LIMIT 20",
        act="Nothing, if the spans are not missed; shorter episodes make smaller traces.",
        fires={series("esper.relay.cut_spans"): "0x100 0+5x300"},
        quiet={series("esper.relay.cut_spans"): "5x400"},
    ),
    on_count(
        "EsperSensorFault",
        "esper.sensor.faults",
        labels={},
        sample={"sensor": "amp", "reason": "unavailable"},
        domain="esper",
        severity="info",
        concern="sensors",
        summary='A sensor of {{ $labels.instance }} failed {{ $value | printf "%.0f" }} time(s)',
        reason="A sensor that fails is said once; panels that depend on it stay empty.",
        meaning="A sensor in the training process is unavailable.",
        look=(metric("esper.sensor.faults"),),
        act="SENSOR_FAULT in the log says why; a missing driver or library is to be installed or accepted.",
    ),
)

ALERTS: Final = (*_RUN, *_TELEMETRY)
