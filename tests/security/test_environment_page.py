"""The page about the environment that libraries read: each variable that their code names has a decision there."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tools import ROOT

PAGE = ROOT / "docs" / "reference" / "environment-read-by-libraries.md"
READ = re.compile(r"(?:environ(?:\.get|\.pop|\.setdefault)?|getenv|_environ)[\[(]\s*[\"']([A-Za-z_][A-Za-z0-9_]*)[\"']")
OTEL = re.compile(r"[\"'](OTEL_[A-Z0-9_]+)[\"']")
WSGI = {"HTTP_ACCEPT", "HTTP_ACCEPT_ENCODING", "PATH_INFO", "QUERY_STRING", "REQUEST_METHOD"}
"""Keys of a request's ``environ``, which is none of the process."""

PACKAGES = (
    "certifi",
    "charset_normalizer",
    "click",
    "duckdb",
    "grpc",
    "httpx",
    "idna",
    "jinja2",
    "mcp",
    "msgspec",
    "opentelemetry",
    "plotly",
    "prometheus_client",
    "pydantic",
    "pynvml",
    "requests",
    "rich",
    "typer",
    "urllib3",
    "wrapt",
    "zstandard",
)
"""What our processes import beside torch, numpy and wandb, of whose variables the page speaks as a whole."""


def sources(package: str) -> list[Path]:
    spec = find_spec(package)
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin or "")]
    return [path for place in spec.submodule_search_locations for path in Path(place).rglob("*.py")]


def read_by(package: str) -> set[str]:
    """Variables that the package's code names where it reads the environment."""
    texts = [path.read_text("utf-8", "replace") for path in sources(package)]
    found = {name for text in texts for name in READ.findall(text)}
    if package == "opentelemetry":
        found |= {name for text in texts for name in OTEL.findall(text)}
    return found - WSGI


@pytest.fixture(scope="module")
def decided() -> list[str]:
    """Names and patterns in the first column of the page's tables."""
    rows = [line.split("|")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_variable_that_a_package_reads_has_a_decision(package: str, decided: list[str]) -> None:
    undecided = {name for name in read_by(package) if not any(fnmatchcase(name, pattern) for pattern in decided)}

    assert set() == undecided


def test_the_scan_finds_what_is_known_to_be_read() -> None:
    assert {"NETRC", "REQUESTS_CA_BUNDLE"} <= read_by("requests")
    assert {"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"} <= read_by("opentelemetry")
    assert "PROMETHEUS_MULTIPROC_DIR" in read_by("prometheus_client")
