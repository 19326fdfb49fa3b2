"""Reads a metrics endpoint every 5 s until it is stopped: ``python -m benchmarks.alternatives.scraper URL``."""

from __future__ import annotations

import sys
import time
import urllib.error
import urllib.request

EVERY_S = 5.0


def main() -> None:
    """Read and discard."""
    while True:
        try:
            with urllib.request.urlopen(sys.argv[1], timeout=EVERY_S) as answer:
                answer.read()
        except (urllib.error.URLError, OSError) as error:
            print(f"not scraped: {error}", file=sys.stderr)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    main()
