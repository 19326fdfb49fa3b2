"""The commands: functions, required extras and summaries. Importing this module loads none of the commands."""

from __future__ import annotations

from typing import Final, NamedTuple


class Command(NamedTuple):
    """One command.

    Attributes:
        function: ``module:name`` of the function, or of the group of further commands.
        extra: the extra of the package that installs what it needs.
        summary: the first paragraph of the function's docstring; ``esper-otel --help`` imports no command to show it.
    """

    function: str
    extra: str
    summary: str


ABOUT: Final = "Telemetry for reinforcement-learning and other PyTorch training: event log, OpenTelemetry, SQL, report."

COMMANDS: Final = {
    "run": Command(
        "esper_otel.automatic.command:run",
        "cli",
        "Run a training program and record it, without a line in it: 'esper-otel run train.py --lr 0.1'.",
    ),
    "relay": Command(
        "esper_otel.relay.command:relay",
        "relay",
        "Project the event log of a run to OpenTelemetry: Prometheus endpoint, spans, metrics and log events by OTLP.",
    ),
    "backfill": Command(
        "esper_otel.backfill.command:backfill",
        "relay",
        "Write a finished run as OpenMetrics text with its original times, for 'promtool tsdb create-blocks-from'.",
    ),
    "sql": Command(
        "esper_otel.sql.command:sql",
        "sql",
        "Query one run or several over the views that 'esper-otel views' lists. Read-only.",
    ),
    "views": Command("esper_otel.sql.command:views", "sql", "List the views, or the columns of one of them."),
    "compact": Command(
        "esper_otel.sql.command:compact",
        "sql",
        "Write a run as Parquet, which the views read without parsing. Keeps the log; run it again to add new events.",
    ),
    "clickhouse": Command(
        "esper_otel.sql.clickhouse.command:clickhouse",
        "sql",
        "Print the statements that create the views in ClickHouse, over the files of an archive or the live stream.",
    ),
    "report": Command(
        "esper_otel.report.command:report",
        "report",
        "Write the charts of a run as a self-contained HTML page: one file, no server, no network.",
    ),
    "runs": Command(
        "esper_otel.runs.command:runs",
        "cli",
        "List the runs of a directory: state, start, duration, outcome, settings, tags and notes. Logs are only read.",
    ),
    "stacks": Command(
        "esper_otel.stacks.command:stacks",
        "stacks",
        "Print the Python stacks of a run's living processes on this machine. They are read, not stopped.",
    ),
    "diagnose": Command(
        "esper_otel.diagnosis.command:diagnose",
        "sql",
        "Say what is wrong with a run: a ranked list of findings with evidence, cause and next step. Read-only.",
    ),
    "alerts": Command(
        "esper_otel.diagnosis.reported:alerts",
        "sql",
        "List the findings that the relay made while it followed the run (relay --alerts), oldest first. Read-only.",
    ),
    "compare": Command(
        "esper_otel.comparison.command:compare",
        "sql",
        "Compare runs: settings that differ, outcome with its interval, and a verdict. Read-only.",
    ),
    "goodput": Command(
        "esper_otel.goodput.command:goodput",
        "sql",
        "Show where the time of a run went: useful steps, waiting for data, checkpoints, restarts. Read-only.",
    ),
    "trace": Command(
        "esper_otel.timeline.command:trace",
        "sql",
        "Write a run as a trace for Perfetto: rounds, updates, phases, counters, findings; all ranks on one time axis.",
    ),
    "mcp": Command(
        "esper_otel.mcp_server.command:mcp",
        "mcp",
        "Serve runs to an AI assistant over MCP on standard input and output. Read-only.",
    ),
    "doctor": Command(
        "esper_otel.doctor.command:doctor",
        "relay",
        "Check disk, latest run, its relay, ports, OTLP endpoints, archive and GPU.",
    ),
    "signals": Command(
        "esper_otel.cli.signals:signals",
        "cli",
        "Print the catalogue of signals: every metric with its names, unit, tier, attributes and source.",
    ),
    "export": Command(
        "esper_otel.cli.export:export",
        "cli",
        "Write the dashboards, rules, provisioning, collector and Compose files to a directory.",
    ),
    "dashboards": Command("esper_otel.cli.dashboards:dashboards", "cli", "The Grafana dashboards of this repository."),
}
