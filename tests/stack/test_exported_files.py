"""What ``esper-otel export`` writes is mounted into containers, whose users are not the one who wrote it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.tools import python_environment


def test_a_containers_user_can_read_every_exported_file_whatever_the_umask(tmp_path: Path) -> None:
    directory = tmp_path / "files"
    command = [
        "sh",
        "-c",
        'umask 077; exec "$0" "$@"',
        Path(sys.executable).with_name("esper-otel"),
        "export",
        directory,
    ]
    exported = subprocess.run(command, env=python_environment(), capture_output=True, text=True)
    assert exported.returncode == 0, exported.stderr
    private = directory / "out" / "compose"
    paths = [path for path in directory.rglob("*") if path != private]

    assert {0o644} == {path.stat().st_mode & 0o777 for path in paths if path.is_file()}
    assert {0o755} == {path.stat().st_mode & 0o777 for path in paths if path.is_dir() and path != private.parent}
    assert 0o700 == private.stat().st_mode & 0o777
