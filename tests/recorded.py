"""Recordings of real esper-lite runs, which lie beside the repository and not in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RECORDINGS = ("esper-lite-2env", "esper-lite-3env-3slot", "esper-lite-rollback")


def recording(name: str) -> Path:
    """The log of one run; where it is missing the test is skipped, on CI (``CI=true``) it fails."""
    path = DATA / f"{name}.jsonl.gz"
    if path.exists():
        return path
    missing = f"{path.name} is not in {DATA}: the recordings of esper-lite are not part of the repository"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(missing)
    pytest.skip(missing)
