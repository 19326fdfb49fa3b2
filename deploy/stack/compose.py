"""``python -m deploy.stack.compose``: writes Compose's uncommitted files to ``out/compose``.

Grafana's administrator password is generated on first use. Alertmanager's configuration has those receivers whose
secret lies in ``out/compose/secrets``, and the webhook of ``ESPER_ALERT_WEBHOOK_URL``.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from deploy.alertmanager.build import CHAT_URL, PAGER_KEY, SECRETS, Ways, configuration
from deploy.stack.program import ROOT
from deploy.stack.stores import password_in
from grafana.yaml_text import to_yaml

DIRECTORY: Final = ROOT / "out" / "compose"
WEBHOOK_TOKEN: Final = "webhook_token"
MOUNTED: Final = (
    "deploy/collector",
    "deploy/compose",
    "deploy/prometheus",
    "grafana/dashboards",
    "grafana/provisioning",
)
"""Directories of the repository whose files containers read."""


def prepare(directory: Path, environ: Mapping[str, str]) -> Path:
    """Write everything to ``directory``; the file with Grafana's password.

    ``directory`` is closed to other users; what is in it is not, whatever the umask, because containers' users read it.
    """
    password = password_in(directory)
    secrets = directory / "secrets"
    secrets.mkdir(exist_ok=True)
    secrets.chmod(0o755)
    file = directory / "alertmanager.yml"
    file.write_text(to_yaml(configuration(ways(secrets, environ))), encoding="utf-8")
    file.chmod(0o644)
    return password


def ways(secrets: Path, environ: Mapping[str, str]) -> Ways:
    """Receivers whose secrets are in ``secrets``, with the paths that the container sees."""
    known = {name: f"{SECRETS}/{name}" for name in (PAGER_KEY, CHAT_URL, WEBHOOK_TOKEN) if (secrets / name).exists()}
    webhook: dict[str, Any] | None = None
    if url := environ.get("ESPER_ALERT_WEBHOOK_URL"):
        webhook = {"url": url}
        if token := known.get(WEBHOOK_TOKEN):
            webhook["http_config"] = {"authorization": {"credentials_file": token}}
    return Ways(known.get(PAGER_KEY), known.get(CHAT_URL), webhook)


def closed(root: Path) -> Iterator[Path]:
    """Paths below ``root`` that containers read and their users cannot."""
    for place in MOUNTED:
        for path in (root / place, *sorted((root / place).rglob("*"))):
            needed = 0o005 if path.is_dir() else 0o004
            if "__pycache__" not in path.parts and path.stat().st_mode & needed != needed:
                yield path.relative_to(root)


def main() -> None:
    """Write the files; exit with status 1 where containers could not read what they mount from the checkout."""
    if unreadable := list(closed(ROOT)):
        sys.exit(
            f"{unreadable[0]} is closed to other users, who run in the containers; such paths: {len(unreadable)}. "
            f"Open them: chmod -R go+rX {' '.join(MOUNTED)}"
        )
    print(f"Grafana: user admin, password in {prepare(DIRECTORY, os.environ)}")


if __name__ == "__main__":
    main()
