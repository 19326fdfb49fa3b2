"""esper-lite itself, trained on its mock data: recorded in process, and followed from its own file.

Its source is not part of this repository nor of any registry: ``ESPER_LITE_SRC`` says where it is,
``ESPER_LITE_PYTHON`` which interpreter has what it needs and this package. Without them these tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.esper_lite import account, train

pytestmark = pytest.mark.skipif(
    "ESPER_LITE_SRC" not in os.environ, reason="ESPER_LITE_SRC does not say where esper-lite is"
)


@pytest.mark.parametrize("way", ["instrumentor", "followed"])
def test_every_event_of_a_training_is_kept_and_counted(way: str, tmp_path: Path) -> None:
    trained = train(way, tmp_path, 1)

    assert account(trained).endswith("hub dropped 0")
