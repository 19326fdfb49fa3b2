"""A hash of every row of every view of a run: ``python -m benchmarks.archiving.hashes RUN DIRECTORY``.

Writes one file for each view that has rows: 64 bits of the MD5 of each row's text, sorted, so that two runs have the
same rows just where the files are equal. Prints time, peak of the memory and rows as JSON.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from array import array
from pathlib import Path
from typing import Final

from esper_otel.sql import VIEWS, View, connect
from esper_otel.sql.views.columns import quoted

SOME: Final = 100_000
SUMS: Final = ("reward_calibration",)
"""Views of sums of floating-point numbers, whose last digits depend on the order of addition."""


def main() -> None:
    """Write the hashes, and print the figures."""
    run, directory = sys.argv[1], Path(sys.argv[2])
    directory.mkdir()
    began, used = time.monotonic(), time.process_time()
    rows: dict[str, int] = {}
    with connect(run) as connection:
        connected_s = time.monotonic() - began
        for view in VIEWS.values():
            found = connection.execute(f"SELECT {_hash(view)} AS h FROM {view.name} ORDER BY h")
            count = 0
            with (directory / view.name).open("wb") as file:
                while some := found.fetchmany(SOME):
                    array("Q", (row[0] for row in some)).tofile(file)
                    count += len(some)
            if count:
                rows[view.name] = count
            else:
                (directory / view.name).unlink()
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    figures = {"connected_s": connected_s, "seconds": time.monotonic() - began}
    print(json.dumps(figures | {"core_s": time.process_time() - used, "peak_mb": kib * 1024 / 1e6, "rows": rows}))


def _hash(view: View) -> str:
    columns = (
        f"printf('%.9g', {quoted(column.name)})"
        if view.name in SUMS and column.type == "DOUBLE"
        else quoted(column.name)
        for column in view.columns
    )
    return f"md5_number_lower(row({', '.join(columns)})::VARCHAR)"


if __name__ == "__main__":
    main()
