"""Writes the files that are derived from the contract, or lists the stale ones."""

import argparse
import sys
from pathlib import Path

from deploy.alertmanager import build as alertmanager
from deploy.k8s import build as kubernetes
from deploy.prometheus import build as prometheus
from deploy.stack import scraping
from grafana import files as grafana
from scripts import migration_tables, reference

ROOT = Path(__file__).parent.parent


def generated() -> dict[Path, str]:
    """Content of every generated file by its path."""
    files = {
        **reference.generated(ROOT),
        **prometheus.generated(ROOT),
        **alertmanager.generated(ROOT),
        **scraping.generated(ROOT),
        **grafana.generated(ROOT),
        **migration_tables.generated(ROOT),
    }
    return {**files, **kubernetes.generated(ROOT, files)}


def main() -> int:
    """Write, or with --check compare; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail when a file is stale")
    is_check = parser.parse_args().check
    stale = []
    for path, text in generated().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT))
            if not is_check:
                path.write_text(text, encoding="utf-8")
    if is_check and stale:
        print(f"stale: {', '.join(map(str, stale))}; run 'make generate'", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
