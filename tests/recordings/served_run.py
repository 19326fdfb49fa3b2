"""A relay in a process of its own, on a finished log, as a person starts it; and what it serves."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.tools import python_environment
from tests.waiting import PATIENCE_S

"""How long a relay may take to read a recording before it counts as hung."""


class Served(msgspec.Struct, frozen=True):
    """What was scraped: the text as it came, its samples, and where from."""

    url: str
    text: str
    samples: tuple[Sample, ...]

    def values(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The series called ``name``, summed over every label but ``labels``."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for sample in self.samples:
            if sample.name == name:
                found[tuple(sample.labels[label] for label in labels)] += sample.value
        return dict(found)

    def total(self, name: str) -> float:
        """The sum of all series called ``name``."""
        return sum(self.values(name).values())

    @property
    def counters(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Every counter and every part of a histogram by name and labels."""
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(self.text)
            if family.type in {"counter", "histogram"}
            for sample in family.samples
        }


def scrape(url: str) -> Served:
    """What ``url`` serves now."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        text = response.read().decode()
    samples = tuple(sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return Served(url, text, samples)


@contextmanager
def relay_on(log: Path, **environment: str) -> Iterator[str]:
    """A relay that has read ``log`` to its end and goes on serving; yields the address of its metrics."""
    command = [sys.executable, "-m", "esper_otel.relay", str(log), "--linger", "300"]
    env = python_environment(OTEL_EXPORTER_PROMETHEUS_PORT="0", **environment)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        deadline = threading.Timer(PATIENCE_S, process.kill)
        deadline.start()
        try:
            yield _url_when_read(process)
        finally:
            deadline.cancel()
            process.terminate()
            assert process.stderr is not None
            process.stderr.read()


def _url_when_read(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if match := re.search(r"; (http://\S+/metrics) is served for another", line):
            return match[1]
    raise AssertionError(f"the relay ended without serving: {''.join(said)}")
