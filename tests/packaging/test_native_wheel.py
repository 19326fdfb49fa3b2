"""The wheel holds the part in C where a compiler built it, and is complete without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.packaging.installed import Environment, uv, wheel_in
from tests.tools import ROOT

EXTENSION = "esper_otel/native/_recording.abi3.so"
RECORD = """
import esper_otel, json
from esper_otel.events import Decision
record = esper_otel.recorder(Decision)
run = esper_otel.configure(relay=False, telemetry_dir={directory!r}, run_id="r")
for number in range(3):
    record(env_id=number)
esper_otel.shutdown()
print(json.loads((run.run_dir / "run.json").read_text())["recording"], run.counters["written"])
"""


def contents(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def recorded(wheel: Path, directory: Path) -> str:
    """Output about its run of a program in an environment with that wheel."""
    environment = Environment(directory / "environment", wheel, "", "-c", str(ROOT / "constraints.txt"))
    return environment.run("python", "-c", RECORD.format(directory=str(directory / "telemetry")))


def test_a_wheel_built_without_a_compiler_records_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    wheel = wheel_in(tmp_path)

    assert wheel.name.endswith("-py3-none-any.whl")
    assert EXTENSION not in contents(wheel)
    assert "python (the native part was not built) 4" == recorded(wheel, tmp_path).strip()


@pytest.mark.skipif(shutil.which("cc") is None and "CI" not in os.environ, reason="this machine has no C compiler")
def test_a_wheel_built_with_a_compiler_records_natively_on_every_python_from_3_11(tmp_path: Path) -> None:
    wheel = wheel_in(tmp_path)

    assert "-cp311-abi3-linux_" in wheel.name
    assert EXTENSION in contents(wheel)
    assert [] == [name for name in contents(wheel) if name.endswith((".c", ".h"))]
    assert "native 4" == recorded(wheel, tmp_path).strip()


def test_a_release_that_asks_for_the_part_in_c_is_not_built_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", str(tmp_path / "no-compiler"))
    monkeypatch.setenv("ESPER_OTEL_NATIVE", "1")
    with pytest.raises(subprocess.CalledProcessError) as failed:
        uv("build", "--wheel", "-o", str(tmp_path), ".")

    assert "the part in C was not built" in "".join(failed.value.__notes__)
