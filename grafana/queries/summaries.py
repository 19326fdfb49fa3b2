"""Selectors of gauges that also find the summary which a relay in summary mode exports in their place."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from esper_otel.alerts.needed import NEEDED
from esper_otel.alerts.promql import BY_NAME
from esper_otel.signals.summary import PARTS, may_be_summarised, summary_names

STATISTIC: Final = {"avg": "median", "max": "max", "min": "min"}
"""Part of a summary that an aggregate over ranks or environments takes."""


def or_summary(name: str, selector: str, agg: str, by: Collection[str] = ()) -> str:
    """``selector`` of a signal of which ``agg`` is taken, or of its summary where many ranks are exported as one.

    The largest is that of the maxima, the smallest that of the minima, and the mean one of medians. A sum has no
    summary, and neither has a query ``by`` rank or environment.
    """
    signal = BY_NAME[name]
    if agg not in STATISTIC or set(by) & set(PARTS) or name in NEEDED or not may_be_summarised(signal):
        return selector
    own, summary = signal.prometheus_name, summary_names(name, signal.unit, STATISTIC[agg])[2]
    return f'{{__name__=~"{own}|{summary}",{selector.removeprefix(own).removeprefix("{")}'
