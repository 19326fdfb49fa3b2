"""What a panel is before it gets its place: queries, texts and limits, and the builder that draws them."""

from __future__ import annotations

import zlib
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.builders import loki, prometheus, tempo
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from esper_otel.events.declare import Threshold
from grafana.facts import limits_of, signal_of
from grafana.logql import Log
from grafana.promql import ARM, Prom
from grafana.traceql import Trace

GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"
DEFAULT_ARM: Final = "default"
MAX_DESCRIBED: Final = 6
"""Most signals whose descriptions a panel repeats; a panel with more has them in its good text."""

NO_DATA: Final = "no data"
"""What a panel says that must not be empty."""

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
LOKI: Final = DataSourceRef(type_val="loki", uid="${loki}")
TEMPO: Final = DataSourceRef(type_val="tempo", uid="${tempo}")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One query of a panel.

    Attributes:
        what: the expression.
        legend: legend format; Prometheus only.
        instant: one value for each series, at the end of the time shown.
        heat: buckets for a heat map.
        column: name of the value in a table, which is asked for as one.
    """

    what: Prom | Log | Trace
    legend: str = ""
    instant: bool = False
    heat: bool = False
    column: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    Attributes:
        key: name of the panel within its dashboard; never changes, for links and the parity table point to it.
        title: what stands above it.
        good: what it shows when all is well.
        queries: what it asks for.
        builder: the SDK's builder, without id, place and texts.
        width: columns of 24.
        height: rows of the grid.
        empty: why it may have no data in a healthy run; None when it must have some.
        unit: Grafana's unit.
    """

    key: str
    title: str
    good: str
    queries: tuple[Query, ...]
    builder: Any
    width: int
    height: int
    empty: str | None = None
    unit: str = "short"

    @property
    def signals(self) -> frozenset[str]:
        """OpenTelemetry names of the signals that it asks Prometheus for."""
        return frozenset(name for query in self.queries if isinstance(query.what, Prom) for name in query.what.signals)

    @property
    def event_types(self) -> frozenset[str]:
        """Event types that it asks Loki for."""
        return frozenset(
            name for query in self.queries if isinstance(query.what, Log) for name in query.what.event_types
        )


def panel_id(uid: str, key: str) -> int:
    """Id of a panel: the same whatever stands around it, so that links to it last. Between 1 and 2**31."""
    return zlib.crc32(f"{uid}/{key}".encode()) % (2**31 - 1) + 1


def legend(text: str, expression: Prom) -> str:
    """``text``, with the arm behind it where there may be several."""
    return f"{text} · {{{{{ARM}}}}}" if ARM in expression.labels and f"{{{{{ARM}}}}}" not in text else text


def target(query: Query, ref: str) -> Any:
    """The query as the SDK builds it, with the reference ``ref``: ``A``, ``B``, and so on."""
    if isinstance(query.what, Log):
        built = loki.Dataquery().expr(query.what.text).query_type("range").direction(LokiQueryDirection.BACKWARD)
        return built.ref_id(ref).datasource(LOKI)
    if isinstance(query.what, Trace):
        found = (
            tempo.Dataquery().query_type("traceql").query(query.what.text).limit(50).table_type(SearchTableType.SPANS)
        )
        return found.ref_id(ref).datasource(TEMPO)
    asked = prometheus.Dataquery().expr(query.what.text).ref_id(ref).datasource(PROMETHEUS)
    if query.column:
        return asked.instant().format(PromQueryFormat.TABLE)
    if query.instant:
        return asked.instant().legend_format(query.legend)
    if query.heat:
        return asked.range().format(PromQueryFormat.HEATMAP).legend_format("{{le}}")
    return asked.range().legend_format(query.legend).exemplar(True)


def describe(panel: Panel, alerts: tuple[str, ...], runbook: str) -> str:
    """The panel's description: what good looks like, what its signals mean, their limits, its alerts."""
    parts = [f"**Good:** {panel.good}"]
    if 0 < len(panel.signals) <= MAX_DESCRIBED:
        parts.append("\n".join(f"- `{name}`: {signal_of(name).description}" for name in sorted(panel.signals)))
        limits = [(name, found) for name in sorted(panel.signals) if (found := limits_of(name)) is not None]
        if limits:
            parts.append("\n".join(f"- `{name}`: {said_limits(found)}" for name, found in limits))
    if panel.empty:
        parts.append(f"**Empty:** {panel.empty}")
    if alerts:
        linked = (f"[{name}]({runbook}#{name.lower()})" if "://" in runbook else f"`{name}`" for name in alerts)
        parts.append(f"**Alerts:** {', '.join(linked)}" + ("" if "://" in runbook else f" (see {runbook})"))
    return "\n\n".join(parts)


def said_limits(limits: Threshold) -> str:
    """Limits in words, with their reason."""
    named = {
        "warning above": limits.warning_above,
        "critical above": limits.critical_above,
        "warning below": limits.warning_below,
        "critical below": limits.critical_below,
    }
    said = ", ".join(f"{name} {value:g}" for name, value in named.items() if value is not None)
    return f"{said}. {limits.reason}"


def steps(limits: Threshold | None, *, base: str = GREEN) -> Any:
    """Limits as the colour steps of Grafana."""
    found = [models.Threshold(value=None, color=base)]
    if limits is not None:
        low = ((limits.critical_below, YELLOW), (limits.warning_below, GREEN))
        lower = [(value, colour) for value, colour in low if value is not None]
        if lower:
            found = [models.Threshold(value=None, color=YELLOW if limits.critical_below is None else RED)]
            lower[-1] = (lower[-1][0], GREEN)
            found += [models.Threshold(value=value, color=colour) for value, colour in lower]
        high = ((limits.warning_above, YELLOW), (limits.critical_above, RED))
        found += [models.Threshold(value=value, color=colour) for value, colour in high if value is not None]
    return sdk.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def without_default_arm() -> models.DataTransformerConfig:
    """Takes the arm out of the legends of a run that has only one."""
    return models.DataTransformerConfig(
        id_val="renameByRegex", options={"regex": f"^(.*) · {DEFAULT_ARM}$", "renamePattern": "$1"}
    )


def setting(name: str, value: object) -> models.DynamicConfigValue:
    """One property of an override."""
    return models.DynamicConfigValue(id_val=name, value=value)
