"""One row of the parity table."""

from __future__ import annotations

import msgspec


class ParityRow(msgspec.Struct, frozen=True, kw_only=True):
    """One view or field.

    Attributes:
        section: part of the table.
        name: its name in esper-lite or the plan.
        homes: panels that show it, ``<dashboard's domain>/<panel's key>``.
        shows: signals and event types that these panels must show, together.
        awaits: dashboards that must have a panel for it too, once they exist.
        reason: why it has no panel, or the difference.
    """

    section: str
    name: str
    homes: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    awaits: tuple[str, ...] = ()
    reason: str = ""
