"""Writes the dashboards: ``python -m grafana.build --out DIR --runbook-url …`` with a deployment's own links."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from grafana.boards import BOARDS
from grafana.layout.board import build
from grafana.links import RUNBOOK_URL

DIRECTORY: Final = Path("grafana") / "dashboards"


def dashboard_files(runbook_url: str = RUNBOOK_URL) -> dict[str, str]:
    """Content of the dashboards by file name."""
    return {
        f"{board.uid}.json": json.dumps(build(board, runbook_url), indent=2, sort_keys=True) + "\n" for board in BOARDS
    }


def generated(root: Path) -> dict[Path, str]:
    """Content of the generated files by their path under the repository ``root``."""
    return {root / DIRECTORY / name: text for name, text in dashboard_files().items()}


def main() -> None:
    """Write the dashboards with the links of a deployment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory for the dashboards")
    parser.add_argument("--runbook-url", default=RUNBOOK_URL, help="where the runbook is published")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in dashboard_files(arguments.runbook_url).items():
        (arguments.out / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
