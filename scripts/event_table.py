"""Prints the count of each event type in the log of a run."""

import sys
from collections import Counter

from rich.console import Console
from rich.table import Table

from esper_otel.events import EVENT_TYPES
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader


def main() -> int:
    """Count and print; the exit status."""
    if len(sys.argv) != 2:
        print("usage: event_table.py RUN", file=sys.stderr)
        return 2
    counts: Counter[str] = Counter()
    with LogReader(sys.argv[1], follow=False) as reader:
        while batch := reader.read(1000):
            counts.update(item.event_type if isinstance(item, Record) else f"({item.reason})" for item in batch)
    table = Table("domain", "event type", "events", title=f"Event log of {sys.argv[1]}")
    for name, count in sorted(counts.items(), key=lambda item: (_domain(item[0]), item[0])):
        table.add_row(_domain(name), name, f"{count:,}")
    table.add_row("", "all", f"{counts.total():,}", end_section=True)
    Console().print(table)
    return 0


def _domain(name: str) -> str:
    return EVENT_TYPES[name].domain.value if name in EVENT_TYPES else "?"


if __name__ == "__main__":
    sys.exit(main())
