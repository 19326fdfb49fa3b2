"""Text and colour that Grafana draws for a value, from the panel's own JSON: mappings first, then thresholds."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.grafana.substituted import built, panels_of

Json = dict[str, Any]


class Drawn(msgspec.Struct, frozen=True):
    """One number on the screen."""

    text: str
    colour: str


def panel(uid: str, title: str) -> Json:
    """The panel of a built dashboard."""
    (found,) = (one for one in panels_of(built()[uid]) if one["title"] == title)
    return found


def drawn(shown: Json, value: float | None) -> Drawn:
    """A value, or None where no series was found, as the panel draws it."""
    defaults = shown["fieldConfig"]["defaults"]
    mapped = _mapped(defaults.get("mappings", []), value)
    if mapped is not None:
        return Drawn(mapped.get("text", ""), mapped["color"])
    if value is None:
        return Drawn(defaults["noValue"], _threshold(defaults, float("-inf")))
    return Drawn(f"{value:g}", _threshold(defaults, value))


def _mapped(mappings: list[Json], value: float | None) -> Json | None:
    for one in mappings:
        options = one["options"]
        if one["type"] == "value" and value is not None and f"{value:g}" in options:
            found: Json = options[f"{value:g}"]
            return found
        if one["type"] == "special" and options["match"] == "null+nan" and (value is None or value != value):
            nothing: Json = options["result"]
            return nothing
    return None


def _threshold(defaults: Json, value: float) -> str:
    steps = defaults.get("thresholds", {}).get("steps", [])
    reached = [step for step in steps if step["value"] is None or value >= step["value"]]
    return str(reached[-1]["color"]) if reached else "green"
