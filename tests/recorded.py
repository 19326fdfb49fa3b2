"""Recordings of real esper-lite runs, which lie beside the repository and not in it."""

from __future__ import annotations

from pathlib import Path

from tests.tools import ROOT, do_without

DATA = ROOT.resolve().parent / "shared" / "data"
RECORDINGS = ("esper-lite-2env", "esper-lite-3env-3slot", "esper-lite-rollback")


def recording(name: str) -> Path:
    """The log of one run; where it is missing the test is skipped, on CI (``CI=true``) it fails."""
    path = DATA / f"{name}.jsonl.gz"
    if not path.exists():
        do_without(f"{path.name} is not in {DATA}: the recordings of esper-lite are not part of the repository")
    return path
