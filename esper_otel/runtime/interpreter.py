"""The Python interpreter that runs the relay, which need not be ``sys.executable``."""

from __future__ import annotations

import os
import re
import site
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"(?:python|pypy)[0-9.]*t?d?(?:\.exe)?", re.IGNORECASE)

_PACKAGES_OF_PREFIX: Final = ("site-packages", "dist-packages")


def find_interpreter() -> Path:
    """Path of a Python interpreter of this version, this process's own if it is one.

    An application that embeds or freezes Python (PyInstaller, Isaac Sim) may be ``sys.executable`` itself. It is never
    tried: it would start the application again.

    Raises:
        OSError: there is none; the message says what to do.
    """
    for path in _candidates():
        if _NAME.fullmatch(path.name) and path.is_file() and os.access(path, os.X_OK):
            return path
    raise OSError(
        f"{sys.executable or 'the program'} is not a Python interpreter, and there is none in {sys.prefix}; "
        "run 'esper-otel relay RUN --follow' beside the training process"
    )


def interpreter_environment(
    interpreter: Path, environment: Mapping[str, str], packages: Iterable[str]
) -> dict[str, str]:
    """``environment`` with which ``interpreter`` finds ``packages`` where this process has them.

    A program may have put their directory on ``sys.path`` itself. An interpreter that is not this process's own gets
    all of the path. Python's variables are left out where this process ignores them (``-I``, ``-E``).
    """
    kept = {
        name: text
        for name, text in environment.items()
        if not (sys.flags.ignore_environment and name.startswith("PYTHON"))
    }
    if str(interpreter) != sys.executable:
        places = [entry for entry in sys.path if entry and Path(entry).is_dir()]
    else:
        places = [entry for entry in kept.get("PYTHONPATH", "").split(os.pathsep) if entry]
        places += [place for place in map(_place_of, packages) if place is not None and not _is_usual(place)]
    return {**kept, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places))} if places else kept


def _place_of(package: str) -> str | None:
    """The directory that ``package`` is in; None if it is in none."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return None
    place = next(iter(found.submodule_search_locations or ()), None) if found is not None else None
    return str(Path(place).absolute().parent) if place is not None and Path(place).is_dir() else None


def _is_usual(place: str) -> bool:
    """Return True if an interpreter looks for packages there by itself."""
    prefixes = sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix
    is_below = any(Path(place).is_relative_to(prefix) for prefix in prefixes)
    return place == site.getusersitepackages() or (Path(place).name in _PACKAGES_OF_PREFIX and is_below)


def _candidates() -> Iterator[Path]:
    if not getattr(sys, "frozen", False) and sys.executable:
        yield Path(sys.executable)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix)):
        for name in (version, "python3", "python"):
            yield Path(prefix, "bin", name)
    base = getattr(sys, "_base_executable", None)  # of the interpreter that a virtual environment was made from
    if base and not getattr(sys, "frozen", False):
        yield Path(base)
