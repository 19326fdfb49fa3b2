"""``esper-otel export``: the files for Grafana, Prometheus, Alertmanager, the collector and Compose.

The wheel holds them as package data; a checkout has them in their own directories, which ``pyproject.toml`` lists.
"""

from __future__ import annotations

import secrets
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from esper_otel.text.terminal import printable

PACKAGE: Final = Path(__file__).parents[1]
SHIPPED: Final = PACKAGE / "shipped"
"""Location of the files in the wheel, by their path in the repository."""

_ALERTMANAGER: Final = "deploy/alertmanager/alertmanager.yml"
_PRIVATE: Final = Path("out", "compose")
"""Files that Compose mounts and that are never committed: passwords, keys and the configuration that names them."""


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write to; created if missing.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that were changed.")] = False,
) -> None:
    """Write the dashboards, rules, provisioning, collector and Compose files to a directory.

    Start everything with 'docker compose -f DIR/deploy/compose.yaml up'. Grafana's password is made up and lies in
    DIR/out/compose. Exit status 2: a file was changed since (see --force), or the directory cannot be written.
    """
    try:
        files = dict(shipped())
        changed = [path for path, source in files.items() if _differs(directory / path, source)]
        if changed and not force:
            _fail(f"{', '.join(map(str, changed))} in {directory} have been changed: use --force to overwrite them")
        directory.mkdir(parents=True, exist_ok=True)
        for path, source in files.items():
            _write(directory, path, source.read_bytes())
        _write_private(directory)
    except OSError as error:
        _fail(str(error))
    print(f"{directory}: {len(files)} files. Grafana loads grafana/, Prometheus loads deploy/prometheus/.")
    print(f"start everything: docker compose -f {directory / 'deploy' / 'compose.yaml'} up --build")


def shipped() -> Iterator[tuple[Path, Path]]:
    """Path of each file below the target directory, with its source.

    Raises:
        FileNotFoundError: this is neither an installed package nor a checkout.
    """
    if SHIPPED.is_dir():
        yield from ((path.relative_to(SHIPPED), path) for path in _files_below(SHIPPED))
        return
    root = PACKAGE.parent
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    for place in project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]:
        yield from ((path.relative_to(root), path) for path in _files_below(root / place))


def _files_below(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    return sorted(path for path in place.rglob("*") if path.is_file())


def _differs(target: Path, source: Path) -> bool:
    return target.exists() and target.read_bytes() != source.read_bytes()


def _write(directory: Path, path: Path, content: bytes) -> None:
    """Write one file, readable for containers' users whatever the umask; who reaches it, ``directory`` decides."""
    for parent in reversed(path.parents[:-1]):
        if not (directory / parent).exists():
            (directory / parent).mkdir()
            (directory / parent).chmod(0o755)
    target = directory / path
    target.write_bytes(content)
    target.chmod(0o644)


def _write_private(directory: Path) -> None:
    """Write the files that are missing: password, Alertmanager's configuration, directory of the receivers' secrets."""
    private = directory / _PRIVATE
    receivers = private / "secrets"
    receivers.mkdir(parents=True, exist_ok=True)
    private.chmod(0o700)
    receivers.chmod(0o755)  # containers' users read what is in the directory; it is closed to other users
    password, configuration = private / "grafana_admin_password", private / "alertmanager.yml"
    if not password.exists():
        password.write_text(secrets.token_urlsafe(18), encoding="utf-8")
        password.chmod(0o644)
    if not configuration.exists():
        configuration.write_bytes((directory / _ALERTMANAGER).read_bytes())
        configuration.chmod(0o644)


def _fail(message: str) -> None:
    print(f"esper-otel export: {printable(message)}", file=sys.stderr)
    raise typer.Exit(2)
