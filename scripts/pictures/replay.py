"""Write a recording of esper-lite into a directory of its own as if it trained now."""

from __future__ import annotations

import gzip
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

NAME: Final = "events.jsonl"
"""Name of esper-lite's log."""


def replay(recording: Path, directory: Path, seconds: float) -> None:
    """Write the lines over ``seconds``, each with the time at which it is written."""
    with gzip.open(recording) as read:
        lines = read.readlines()
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / NAME).open("ab", buffering=0) as log:
        for line in lines:
            event = json.loads(line)  # esper-lite writes NaN as this module does
            event["timestamp"] = datetime.now(UTC).isoformat()
            log.write(json.dumps(event).encode() + b"\n")
            time.sleep(seconds / len(lines))


if __name__ == "__main__":
    replay(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
