"""Optional packages, each installed by one of our extras."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote


def install(extra: str) -> str:
    """The command that installs ``extra`` from where esper-otel itself was installed: a checkout, a wheel, an index."""
    source = _direct_url()
    address = source.get("url", "")
    path = unquote(address.removeprefix("file://")) if isinstance(address, str) else ""
    if path == address or not Path(path).exists():  # an index, or a directory that only an image's build had
        return f'pip install "esper-otel[{extra}]"'
    if "dir_info" in source and source["dir_info"].get("editable"):
        return f'pip install -e "{path}[{extra}]"'
    return f'pip install "esper-otel[{extra}] @ {address}"'


def missing(package: str, extra: str) -> str:
    """Message for the user that ``package`` is missing, with the command that installs it."""
    return f"{package} is not installed: {install(extra)}"


def first_missing(packages: tuple[str, ...]) -> str | None:
    """The first of the top-level ``packages`` that cannot be imported. Checks without importing any of them."""
    return next((package for package in packages if find_spec(package) is None), None)


def _direct_url() -> dict[str, Any]:
    """Contents of ``direct_url.json`` (PEP 610); empty for a package from an index."""
    from importlib.metadata import PackageNotFoundError, distribution  # takes 10 ms, for a message

    try:
        found = json.loads(distribution("esper-otel").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
