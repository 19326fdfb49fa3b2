"""Every generated file of this package, and the problems of those on disk."""

from __future__ import annotations

import json
from pathlib import Path

from grafana import build, provisioning_files
from grafana.clickhouse import files as clickhouse
from grafana.lint import problems, problems_between
from grafana.parity import table as parity


def generated(root: Path) -> dict[Path, str]:
    """Content of the dashboards, the provisioning and the parity table by path under the repository ``root``."""
    shown = {**build.generated(root), **provisioning_files.generated(root), **clickhouse.generated(root)}
    return {**shown, **parity.generated(root)}


def write(root: Path) -> list[Path]:
    """Write the files that are missing or stale; returns their paths."""
    written = []
    for path, text in generated(root).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def faults(root: Path) -> list[str]:
    """One sentence for each file that is stale or edited by hand, left over, or breaks a rule."""
    wanted = generated(root)
    found = [
        f"{path.relative_to(root)} is stale or edited by hand; run 'esper-otel dashboards build'"
        for path, text in wanted.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    on_disk = sorted((root / build.DIRECTORY).glob("*.json"))
    found += [f"{path.relative_to(root)} belongs to no dashboard; remove it" for path in on_disk if path not in wanted]
    dashboards = [json.loads(path.read_text(encoding="utf-8")) for path in on_disk if path in wanted]
    return [*found, *(fault for one in dashboards for fault in problems(one)), *problems_between(dashboards)]
