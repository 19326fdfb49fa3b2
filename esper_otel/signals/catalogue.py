"""The catalogue of signals as rows, for people and programs."""

from collections.abc import Iterable
from typing import Any

from esper_otel.events.declare import Instrument, Threshold
from esper_otel.signals.own import OWN_SIGNALS, OwnSignal
from esper_otel.signals.registry import SIGNALS, Signal

COLUMNS = ("name", "prometheus_name", "instrument", "unit", "tier", "attributes", "event_type", "field", "description")


def rows(declared: Iterable[Signal] = ()) -> list[dict[str, Any]]:
    """One object per metric and event that feeds it, ordered by name; those ``declared`` by a run as well."""
    found = [_row(signal) for signal in (*SIGNALS, *declared)] + [_own_row(signal) for signal in OWN_SIGNALS]
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
        row |= _limits("threshold", signal.threshold)
    elif signal.limits is not None:
        row |= _limits("limits", signal.limits)
    return row


def _limits(key: str, limits: Threshold) -> dict[str, Any]:
    return {key: limits.levels, f"{key}_reason": limits.reason}


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
    } | (_limits("limits", signal.limits) if signal.limits else {})


def limits_text(levels: dict[str, float]) -> str:
    """The limits for people: ``warning above 0.6, critical above 0.75``."""
    return ", ".join(f"{name.replace('_', ' ')} {level:g}" for name, level in levels.items())


def markdown(declared: Iterable[Signal] = ()) -> str:
    """The catalogue as the page ``docs/reference/signals.md``, with the signals that a run ``declared``."""
    lines = [
        "# Signals",
        "",
        "Generated from the declarations in `esper_otel/events` by `make generate`; do not edit.",
        "Every metric of an event also has the attributes `group_id` and `rank`.",
        "The limits of a field are in the unit of the metric, at its counter of violations, else at its first.",
    ]
    domain = None
    listed = rows(declared)
    stated = {_source(row) for row in listed if "threshold" in row}
    for row in listed:
        if row["domain"] != domain:
            domain = row["domain"]
            lines += [
                "",
                f"## {domain}",
                "",
                "| metric | Prometheus | instrument | unit | tier | attributes | source | meaning |",
            ]
            lines.append("|---|---|---|---|---|---|---|---|")
        if "limits" in row and _source(row) in stated:
            row = {key: value for key, value in row.items() if key != "limits"}
        elif "limits" in row:
            stated.add(_source(row))
        lines.append(_markdown_row(row))
    return "\n".join(lines) + "\n"


def _markdown_row(row: dict[str, Any]) -> str:
    attributes = ", ".join(a for a in row["attributes"] if a not in {"group_id", "rank"})
    meaning = row["description"]
    for key in ("threshold", "limits"):
        if key in row:
            meaning += f" Limits: {limits_text(row[key])}. {row[f'{key}_reason']}"
    cells = (
        f"`{row['name']}`",
        f"`{row['prometheus_name']}`",
        row["projection"],
        row["unit"],
        row["tier"],
        attributes,
        _source(row) if row["event_type"] else "relay",
        meaning,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _source(row: dict[str, Any]) -> str:
    return f"{row['event_type']} {row['field'] or ''}".strip() if row["event_type"] else str(row["name"])
