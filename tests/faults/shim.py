"""A disk that is slow, full or far away, for one process: ``shim.c``, compiled and preloaded."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest


def build_shim(directory: Path) -> Path:
    """Compile the library into ``directory``; its path. Skips the test where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler: slow and failing writes cannot be made")
    library = directory / "faulty_disk.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return library


class FaultyDisk:
    """Orders to the library in another process, in force at once.

    Attributes:
        env: what the process needs in its environment.
    """

    def __init__(self, library: Path, orders: Path) -> None:
        self._orders = orders
        self.env = {"LD_PRELOAD": str(library), "FAULTY_DISK": str(orders)}
        self.heal()

    def order(
        self,
        *,
        delay_s: float = 0.0,
        error: int = 0,
        most_bytes: int = 0,
        meta_delay_s: float = 0.0,
        clock_s: int = 0,
        lock_error: int = 0,
        read_error: int = 0,
    ) -> None:
        """Writes take ``delay_s``, fail with ``error`` or take at most ``most_bytes``; opening and renaming wait.

        ``clock_s`` is how far the time of the day is off; ``lock_error`` is what asking for the log's lock gives,
        ``read_error`` what reading the log does.
        """
        times_us = (int(delay_s * 1e6), int(meta_delay_s * 1e6))
        content = struct.pack("7i", times_us[0], error, most_bytes, times_us[1], clock_s, lock_error, read_error)
        with self._orders.open("r+b" if self._orders.exists() else "wb") as file:
            file.write(content)

    def heal(self) -> None:
        """From now on everything works."""
        self.order()
