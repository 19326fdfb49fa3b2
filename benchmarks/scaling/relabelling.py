"""Per-environment series that only dashboards use, and the Prometheus rule that drops them."""

from __future__ import annotations

import re
from typing import Final

from deploy.prometheus import build
from esper_otel.signals.registry import SIGNALS, Signal

HISTOGRAM_PARTS: Final = ("_bucket", "_sum", "_count")


def droppable() -> list[str]:
    """Prometheus names of the metrics with ``env_id`` that no alert and no recording rule uses, in order."""
    asked = set(re.findall(r"[a-z_][a-z0-9_]+", "\n".join(build.rule_files().values())))
    per_env = [signal for signal in SIGNALS if "env_id" in signal.attributes]
    names = {signal.prometheus_name for signal in per_env if not _asked(signal, asked)}
    return sorted(names)


def sample_names() -> set[str]:
    """Names of the samples that the rule drops."""
    histograms = {signal.prometheus_name for signal in SIGNALS if signal.bounds}
    return {name + part for name in droppable() for part in (HISTOGRAM_PARTS if name in histograms else ("",))}


def rule() -> str:
    """The rule as YAML, to be put into a job of ``scrape_configs``."""
    names = "|".join(droppable())
    return (
        "metric_relabel_configs:\n"
        "  - source_labels: [__name__]\n"
        f"    regex: (?:{names})(?:_bucket|_sum|_count)?\n"
        "    action: drop\n"
    )


def _asked(signal: Signal, asked: set[str]) -> bool:
    return bool({signal.prometheus_name + part for part in ("", *HISTOGRAM_PARTS)} & asked)
