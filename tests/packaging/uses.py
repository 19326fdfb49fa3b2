"""What each extra is for, done with the programs of an environment that has it and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

from anyio.from_thread import start_blocking_portal
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from tests.otlp_receiver import OtlpReceiver
from tests.packaging.installed import Environment

RECORD: Final = """
import sys, time
import esper_otel
from esper_otel.events import BatchCompleted, PolicyUpdate
run = esper_otel.configure(telemetry_dir=sys.argv[1], run_id="run", relay=sys.argv[2] == "relay", linger_s=0.0,
                           compress=sys.argv[2] == "compress", segment_bytes=20_000)
for batch in range(1, 201):
    esper_otel.emit(PolicyUpdate(policy_loss=1.0 / batch, batch=batch, head_entropy={"op": 0.5}))
    esper_otel.emit(BatchCompleted(batch_idx=batch, avg_accuracy=50.0))
while sys.argv[2] == "compress" and not list(run.run_dir.glob("*.zst")):
    time.sleep(0.05)  # a thread of its own compresses, which does not hold up the end of the process
    esper_otel.emit(BatchCompleted(batch_idx=201, avg_accuracy=50.0))  # nothing is rotated without a write
esper_otel.shutdown()
"""
IMPORTED: Final = """
import sys
before = set(sys.modules)
import esper_otel
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)))
"""
STACKS: Final = """
import subprocess, sys
import esper_otel
esper_otel.configure(telemetry_dir=sys.argv[1], run_id="run", relay=False)
print(subprocess.run([sys.argv[2], "stacks", f"{sys.argv[1]}/run"], stdout=subprocess.PIPE, text=True).stdout)
"""
INSTRUMENT: Final = """
from importlib.metadata import entry_points
(found,) = entry_points(group="opentelemetry_instrumentor", name="esper_lite")
print(type(found.load()()).__name__)
"""


def record(environment: Environment, directory: Path, what: str = "log") -> str:
    """Record the run ``directory/run``; what the process prints."""
    return environment.run("python", "-c", RECORD, directory, what)


def core(environment: Environment, directory: Path) -> None:
    """Record without a relay, and say which extra would bring one."""
    assert ["esper_otel", "msgspec"] == environment.run("python", "-c", IMPORTED).split()

    said = record(environment, directory, "relay")

    assert (1, 1) == (said.count("\n"), said.count('pip install "esper-otel[relay] @ file://')), said
    assert "Events are still written to the log" in said
    assert 200 == (directory / "run" / "events.jsonl").read_text().count('"TAMIYO_POLICY_UPDATE"') + sum(
        path.read_text().count('"TAMIYO_POLICY_UPDATE"') for path in (directory / "run").glob("events.0*.jsonl")
    )
    assert "  relay  " in environment.run("esper-otel", "--help")
    assert environment.run("esper-otel", "--version").startswith("esper-otel ")


def cli(environment: Environment, directory: Path) -> None:
    """Print the catalogue, and write the files that watch runs."""
    names = {row["name"] for row in json.loads(environment.run("esper-otel", "signals", "--format", "json"))}
    assert "tamiyo.policy_loss" in names
    assert "tamiyo.policy_loss" in environment.run("esper-otel", "signals", COLUMNS="200")

    environment.run("esper-otel", "export", directory / "files")

    assert list((directory / "files" / "grafana" / "dashboards").glob("esper-*.json"))
    assert (directory / "files" / "deploy" / "prometheus" / "rules.yml").exists()


def compress(environment: Environment, directory: Path) -> None:
    """Compress the closed segments."""
    assert "" == record(environment, directory, "compress")

    assert list((directory / "run").glob("*.zst"))


def relay(environment: Environment, directory: Path) -> None:
    """Deliver a run by both protocols, start a relay with training, look at all of it, and write a backfill."""
    record(environment, directory)
    for protocol in ("http/protobuf", "grpc"):
        with OtlpReceiver() as receiver:
            endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
            variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
            options = ("--linger", "0", "--from-start")
            environment.run(
                "esper-otel", "relay", directory / "run", *options, **variables, OTEL_METRICS_EXPORTER="otlp"
            )
            assert receiver.spans
            assert receiver.logs
            assert "tamiyo.policy_loss" in {metric.name for metric in receiver.metrics}
    assert "" == record(environment, directory / "followed", "relay")
    environment.run("esper-otel", "doctor", directory)
    environment.run("esper-otel", "backfill", directory / "run", "-o", directory / "run.om")
    assert (directory / "run.om").read_text().endswith("# EOF\n")


def sql(environment: Environment, directory: Path) -> None:
    """Ask a run, its Parquet, and the list of views."""
    record(environment, directory)
    query = "SELECT count(*) AS updates FROM tamiyo_updates"
    for _ in range(2):
        rows = environment.run("esper-otel", "sql", directory / "run", query, "--format", "json")
        assert [{"updates": 200}] == json.loads(rows)
        environment.run("esper-otel", "compact", directory / "run")
    views = {row["view"] for row in json.loads(environment.run("esper-otel", "views", "--format", "json"))}
    everything = " UNION ALL ".join(f"SELECT '{view}' AS view, count(*) AS rows FROM {view}" for view in sorted(views))
    counted = json.loads(environment.run("esper-otel", "sql", directory / "run", everything, "--format", "json"))
    assert views == {row["view"] for row in counted}
    assert "200" in environment.run("esper-otel", "sql", directory / "run", query)


def archive(environment: Environment, directory: Path) -> None:
    """Archive a run, list it, and ask it."""
    record(environment, directory)
    address = f"file://{directory}/archive"

    environment.run("esper-otel", "compact", directory / "run", "--to", address)

    assert ["run"] == [row["run"] for row in json.loads(environment.run("esper-otel", "runs", address, "--json"))]
    query = "SELECT count(*) AS updates FROM tamiyo_updates"
    rows = environment.run("esper-otel", "sql", address, query, "--format", "json")
    assert [{"updates": 200}] == json.loads(rows)


def report(environment: Environment, directory: Path) -> None:
    """Write the page of a run."""
    record(environment, directory)

    environment.run("esper-otel", "report", directory / "run", "-o", directory / "report.html")

    assert "</html>" in (directory / "report.html").read_text()


def stacks(environment: Environment, directory: Path) -> None:
    """Read the stack of a process that records."""
    said = environment.run("python", "-c", STACKS, directory, environment.program("esper-otel"))
    assert "<module> (<string>:5)" in said, said


def mcp(environment: Environment, directory: Path) -> None:
    """Answer an assistant."""
    record(environment, directory)
    server = StdioServerParameters(
        command=environment.program("esper-otel"), args=["mcp", str(directory)], env=environment.variables()
    )
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(server)) as client:
        answer = portal.call(client.call_tool, "list_runs", {})

    assert "run" in str(answer.content)
    assert not answer.is_error


def wandb(environment: Environment, directory: Path) -> None:
    """Write the rows of a run for Weights & Biases, offline."""
    record(environment, directory)
    home = {"HOME": str(directory), "WANDB_DIR": str(directory)}

    environment.run("esper-otel", "relay", directory / "run", "--linger", "0", ESPER_OTEL_WANDB="offline", **home)

    assert list(directory.glob("wandb/offline-run-*/*.wandb"))


def esper_lite(environment: Environment, directory: Path) -> None:
    """Load the instrumentor as opentelemetry-instrument does."""
    assert "EsperLiteInstrumentor" == environment.run("python", "-c", INSTRUMENT).strip()


USES: Final[dict[str, Callable[[Environment, Path], None]]] = {
    "": core,
    "cli": cli,
    "compress": compress,
    "relay": relay,
    "sql": sql,
    "archive": archive,
    "report": report,
    "mcp": mcp,
    "stacks": stacks,
    "wandb": wandb,
    "esper-lite": esper_lite,
}
"""By extra; the first is none."""


def use(environment: Environment, directory: Path) -> None:
    """Do what the extra of ``environment`` is for; with ``all``, everything but going without a relay."""
    if environment.extra != "all":
        USES[environment.extra](environment, directory)
        return
    for extra, action in USES.items():
        if extra:
            action(environment, directory / extra)
