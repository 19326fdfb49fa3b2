"""Starting trainers and relays as real processes, and asking them what they count."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.tools import ROOT, python_environment
from tests.waiting import PATIENCE_S, wait_for


def environment(**extra: str) -> dict[str, str]:
    """The environment without any OTEL_* of the caller, on a free port."""
    return python_environment(**{"OTEL_EXPORTER_PROMETHEUS_PORT": "0", **extra})


@contextmanager
def process(*arguments: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A Python child process; killed at the end if it still runs."""
    child = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


def training(directory: Path, *options: str, **env: str):
    """A training process that writes to ``directory/run``."""
    return process("-m", "tests.relay.training_child", str(directory), *options, **env)


def relay(run: Path, *options: str, **env: str):
    """A relay on ``run``."""
    return process("-m", "esper_otel.relay", str(run), *options, **env)


def manifest(run: Path) -> dict:
    try:
        return json.loads((run / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def announced_url(run: Path, pid: int | None = None) -> str:
    """URL of the relay's endpoint, from run.json, once the relay ``pid`` (or any) has announced it."""

    def announced() -> str | None:
        info = manifest(run).get("relay") or {}
        return info.get("prometheus_url") if pid in {None, info.get("pid")} else None

    return wait_for(announced, "the announcement of the endpoint")


def scrape(url: str) -> str:
    """Exposition served at ``url``; empty where nobody answers, or the answer breaks off."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def scrape_to_the_end(url: str, process: subprocess.Popen[str]) -> str:
    """The last exposition that a relay served before it ended by itself."""
    last = [""]

    def has_ended() -> bool:
        last[0] = scrape(url) or last[0]
        return process.poll() is not None

    wait_for(has_ended, "the end of the relay", every_s=0.2)
    return last[0]


def state_in(text: str) -> str:
    """The state of the run that an exposition shows; empty where there is none."""
    return next(
        (
            dict(labels)["esper_run_state"]
            for (name, labels), value in samples(text).items()
            if (name, value) == ("esper_run_status", 1.0)
        ),
        "",
    )


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample of an exposition by name and sorted labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def events_by_type(text: str) -> Counter[str]:
    return Counter(
        {
            dict(labels)["event_type"]: int(value)
            for (name, labels), value in samples(text).items()
            if name == "esper_events_total"
        }
    )


def lines_of(run: Path) -> list[dict]:
    """Every whole line of the run's log, all segments, by plain JSON."""
    paths = [*sorted(run.glob("events.0*.jsonl")), run / "events.jsonl"]
    return [json.loads(line) for path in paths for line in path.read_text().splitlines() if line.endswith("}")]


def types_in(run: Path) -> Counter[str]:
    return Counter(line["event_type"] for line in lines_of(run))
