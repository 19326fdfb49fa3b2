"""Build of the optional part in C, with the compiler of the machine; without one the wheel is pure Python."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("esper_otel/native")
SOURCES = ("recording.c", "line.c")
EXTENSION = FOLDER / "_recording.abi3.so"
VARIABLE = "ESPER_OTEL_NATIVE"
"""0: do not build the part in C. 1: fail where it cannot be built, for the wheels of a release."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Compiles the extension: for a wheel beside the sources' tree, for an editable installation into it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and tag the wheel for the system and every Python from 3.11."""
        wish = os.environ.get(VARIABLE, "")
        is_editable = version == "editable"
        place = Path(self.root) if is_editable else Path(tempfile.mkdtemp())
        extension = place / EXTENSION
        extension.parent.mkdir(parents=True, exist_ok=True)
        problem = "not wanted" if wish == "0" else _unsupported() or _compiled(Path(self.root) / FOLDER, extension)
        if problem:
            extension.unlink(missing_ok=True)
            if wish == "1":
                raise RuntimeError(f"the part in C was not built: {problem}. {VARIABLE}=1 asks for it")
            sys.stderr.write(f"esper-otel: the part in C was not built ({problem}); events are recorded in Python\n")
            return
        if not is_editable:
            build_data["force_include"][str(extension)] = EXTENSION.as_posix()
            build_data["pure_python"] = False
            build_data["tag"] = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _unsupported() -> str:
    if sys.platform != "linux":
        return f"it needs Linux, this is {sys.platform}"
    if platform.python_implementation() != "CPython":
        return f"it needs CPython, this is {platform.python_implementation()}"
    return "it needs the interpreter's lock, which this Python does without" if _is_free_threaded() else ""


def _is_free_threaded() -> bool:
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def _compiled(folder: Path, extension: Path) -> str:
    """Compile the sources; returns what went wrong, empty if nothing did."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    options = ["-std=gnu11", "-O2", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}"]
    draft = extension.with_suffix(".new")
    command = [*compiler, *options, *[str(folder / name) for name in SOURCES], "-o", str(draft)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{compiler[0]}: {error}"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return next((line for line in lines if "error" in line), f"{compiler[0]} failed")
    draft.replace(extension)
    return ""
