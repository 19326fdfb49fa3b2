"""A panel before it is placed: queries, texts and limits, and the builder that draws it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.builders import loki, prometheus, tempo
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.loki import LokiQueryDirection
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.tempo import SearchTableType

from esper_otel.alerts.promql import GROUP
from esper_otel.events.declare import Threshold
from grafana.panels.limits import limits_of
from grafana.queries.facts import signal_of
from grafana.queries.logql import Log
from grafana.queries.promql import LINE, Prom, joined
from grafana.queries.runs import DEFAULT_ARM
from grafana.queries.traceql import Trace
from grafana.queries.truth import at_every_step, at_the_end, no_data

GREEN, ORANGE, RED, PLAIN, GREY = "green", "semi-dark-orange", "red", "text", "#8e8e8e"
BY_ARM: Final = f" · {{{{{GROUP}}}}}"
"""End of a legend where there may be several arms."""

NOT_MEASURED: Final = "not measured"
"""Text of a number that is not there."""

MAX_DESCRIBED: Final = 6
"""Most signals whose descriptions a panel repeats; a panel with more has them in its good text."""

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
LOKI: Final = DataSourceRef(type_val="loki", uid="${loki}")
TEMPO: Final = DataSourceRef(type_val="tempo", uid="${tempo}")


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """One query of a panel.

    Attributes:
        what: the expression.
        legend: legend format; Prometheus only.
        instant: one value for each series, at the end of the time shown.
        over: name of the value in a table of every step.
    """

    what: Prom | Log | Trace
    legend: str = ""
    instant: bool = False
    over: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    Attributes:
        key: name of the panel within its dashboard; never changes, for links and the parity table point to it.
        title: text above it.
        good: description of the healthy state.
        queries: its queries.
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
    """``text``, followed by the arm if there may be several."""
    return f"{text}{BY_ARM}" if GROUP in expression.labels and f"{{{{{GROUP}}}}}" not in text else text


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
    asked = prometheus.Dataquery().ref_id(ref).datasource(PROMETHEUS)
    if query.instant:
        return asked.expr(at_the_end(query.what.text)).instant().legend_format(query.legend)
    # Grafana asks for exemplars of whatever it is told to; only histograms have some.
    text = at_every_step(query.what.text)
    if query.over:
        return asked.expr(text).range().format(PromQueryFormat.TABLE)
    return asked.expr(text).range().legend_format(query.legend).exemplar("_bucket{" in text)


def asked_together(queries: tuple[Query, ...]) -> tuple[Query, ...]:
    """The queries, with those of Prometheus joined to one that has a line for each: a panel waits for one answer."""
    alike: dict[object, list[Query]] = {}
    for query in queries:
        name = query.legend.removesuffix(BY_ARM)
        if isinstance(query.what, Prom) and name.count("{{") <= 1:
            alike.setdefault((query.instant, GROUP in query.what.labels), []).append(query)
        else:
            alike[id(query)] = [query]
    return tuple(_together(one) if len(one) > 1 else one[0] for one in alike.values())


def _together(queries: list[Query]) -> Query:
    lines = tuple((query.legend.removesuffix(BY_ARM), query.what) for query in queries if isinstance(query.what, Prom))
    what = joined(lines)
    return Query(what=what, legend=legend(f"{{{{{LINE}}}}}", what), instant=queries[0].instant)


def empty_text(empty: str | None, queries: tuple[Query, ...]) -> str:
    """Text of the panel when nothing is found."""
    source = {Prom: "prometheus", Log: "loki", Trace: "tempo"}[type(queries[0].what)]
    return no_data(empty, source, in_time=not all(query.instant for query in queries))


def missing(text: str = NOT_MEASURED, colour: str = GREY) -> Any:
    """Show a number that is not there as a grey word: without it Grafana gives it the colour of the lowest limit."""
    result = models.ValueMappingResult(text=text, color=colour, index=0)
    options = models.DashboardSpecialValueMapOptions(match=models.SpecialValueMatch.NULL_AND_NAN, result=result)
    return models.SpecialValueMap(options=options)


def mapping(states: Mapping[int, tuple[str, str]] | Mapping[str, tuple[str, str]]) -> models.ValueMap:
    """Word and colour of each value."""
    words = enumerate(states.items())
    return models.ValueMap(
        options={
            str(value): models.ValueMappingResult(text=word, color=colour, index=position)
            for position, (value, (word, colour)) in words
        }
    )


def words_for(pattern: str, text: str) -> models.RegexMap:
    """``text`` in place of each value that ``pattern`` matches."""
    result = models.ValueMappingResult(text=text, index=0)
    return models.RegexMap(options=models.DashboardRegexMapOptions(pattern=pattern, result=result))


def describe(panel: Panel, alerts: tuple[str, ...], runbook: str) -> str:
    """The panel's description: healthy state, meaning of its signals, their limits, its alerts."""
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
    """Limits as text, with their reason."""
    named = {
        "warning above": limits.warning_above,
        "critical above": limits.critical_above,
        "warning below": limits.warning_below,
        "critical below": limits.critical_below,
    }
    said = ", ".join(f"{name} {value:g}" for name, value in named.items() if value is not None)
    return f"{said}. {limits.reason}"


def steps(limits: Threshold | None, *, base: str = GREEN) -> Any:
    """Limits as Grafana's colour thresholds."""
    found = [models.Threshold(value=None, color=base)]
    if limits is not None:
        low = ((limits.critical_below, ORANGE), (limits.warning_below, GREEN))
        lower = [(value, colour) for value, colour in low if value is not None]
        if lower:
            found = [models.Threshold(value=None, color=ORANGE if limits.critical_below is None else RED)]
            lower[-1] = (lower[-1][0], GREEN)
            found += [models.Threshold(value=value, color=colour) for value, colour in lower]
        high = ((limits.warning_above, ORANGE), (limits.critical_above, RED))
        found += [models.Threshold(value=value, color=colour) for value, colour in high if value is not None]
    return sdk.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)


def without_default_arm() -> models.DataTransformerConfig:
    """Remove the arm from the legends of a run that has only one."""
    return models.DataTransformerConfig(
        id_val="renameByRegex", options={"regex": f"^(.*) · {DEFAULT_ARM}$", "renamePattern": "$1"}
    )


def setting(name: str, value: object) -> models.DynamicConfigValue:
    """One property of an override."""
    return models.DynamicConfigValue(id_val=name, value=value)
