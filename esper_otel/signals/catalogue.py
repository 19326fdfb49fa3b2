"""The catalogue of signals as rows, for people and programs."""

from typing import Any

from esper_otel.events.declare import Instrument
from esper_otel.signals.own import OWN_SIGNALS, OwnSignal
from esper_otel.signals.registry import SIGNALS, Signal

COLUMNS = ("name", "prometheus_name", "instrument", "unit", "tier", "attributes", "event_type", "field", "description")


def rows() -> list[dict[str, Any]]:
    """One object per metric and event that feeds it, ordered by name."""
    found = [_row(signal) for signal in SIGNALS] + [_own_row(signal) for signal in OWN_SIGNALS]
    return sorted(found, key=lambda row: (row["name"], row["event_type"] or ""))


def _row(signal: Signal) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": signal.name,
        "prometheus_name": signal.prometheus_name,
        "domain": signal.domain,
        "instrument": signal.instrument.otel,
        "projection": signal.instrument.value,
        "unit": signal.unit,
        "tier": signal.tier.value,
        "description": signal.description,
        "event_type": signal.event.event_type,
        "field": signal.field or None,
        "attributes": list(signal.attributes),
    }
    if signal.instrument is Instrument.HISTOGRAM:
        row["bounds"] = list(signal.bounds)
    if signal.threshold is not None:
        limits = {
            "warning_above": signal.threshold.warning_above,
            "critical_above": signal.threshold.critical_above,
            "warning_below": signal.threshold.warning_below,
            "critical_below": signal.threshold.critical_below,
        }
        row["threshold"] = {name: limit for name, limit in limits.items() if limit is not None}
        row["threshold_reason"] = signal.threshold.reason
    return row


def _own_row(signal: OwnSignal) -> dict[str, Any]:
    return {
        "name": signal.name,
        "prometheus_name": signal.prometheus_name,
        "domain": signal.name.split(".", 1)[0],
        "instrument": signal.instrument,
        "projection": "relay",
        "unit": signal.unit,
        "tier": "low",
        "description": signal.description,
        "event_type": None,
        "field": None,
        "attributes": list(signal.attributes),
    }


def markdown() -> str:
    """The catalogue as the page ``docs/signals.md``."""
    lines = [
        "# Signals",
        "",
        "Generated from the declarations in `esper_otel/events` by `make generate`; do not edit.",
        "Every metric of an event also has the attributes `group_id` and `rank`.",
    ]
    domain = None
    for row in rows():
        if row["domain"] != domain:
            domain = row["domain"]
            lines += [
                "",
                f"## {domain}",
                "",
                "| metric | Prometheus | instrument | unit | tier | attributes | source | meaning |",
            ]
            lines.append("|---|---|---|---|---|---|---|---|")
        lines.append(_markdown_row(row))
    return "\n".join(lines) + "\n"


def _markdown_row(row: dict[str, Any]) -> str:
    attributes = ", ".join(a for a in row["attributes"] if a not in {"group_id", "rank"})
    source = f"{row['event_type']} {row['field'] or ''}".strip() if row["event_type"] else "relay"
    meaning = row["description"]
    if "threshold" in row:
        limits = ", ".join(f"{name.replace('_', ' ')} {limit:g}" for name, limit in row["threshold"].items())
        meaning += f" Limits: {limits}. {row['threshold_reason']}"
    cells = (
        f"`{row['name']}`",
        f"`{row['prometheus_name']}`",
        row["projection"],
        row["unit"],
        row["tier"],
        attributes,
        source,
        meaning,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
