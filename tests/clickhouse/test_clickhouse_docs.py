"""The example of the documentation runs, and answers what stands there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.archive.rows import archived
from tests.recorded import RECORDINGS, recording
from tests.tools import ROOT, python_environment, tool

PAGE = (ROOT / "docs" / "guides" / "clickhouse.md").read_text(encoding="utf-8")


def test_the_example_in_python_answers_what_the_page_says(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (answer,) = re.findall(r"```\n(\".*?)```", PAGE, re.DOTALL)
    for name in RECORDINGS:
        archived(recording(name), f"file://{tmp_path}/archive")
    beside = os.pathsep.join([str(Path(tool("esper-otel")).parent), os.environ["PATH"]])

    done = subprocess.run(
        [tool("chdb-python"), "-c", example.replace("file:///data/archive", f"file://{tmp_path}/archive")],
        env=python_environment(PATH=beside),
        capture_output=True,
        text=True,
    )

    assert answer.strip() == done.stdout.strip(), done.stderr
