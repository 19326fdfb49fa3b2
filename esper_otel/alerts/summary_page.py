"""The section of the catalogue of signals about summary mode: the metrics that stay whole are those of the alerts."""

import textwrap

from esper_otel.alerts.needed import NEEDED
from esper_otel.signals import SIGNALS
from esper_otel.signals.summary import MANY, PARTS, STATISTICS, WORST, summary_names, summary_series


def markdown() -> str:
    """Names in summary mode, and the metrics that stay whole."""
    example = next(
        s for s in SIGNALS if s.instrument.otel == "gauge" and "env_id" in s.attributes and s.name not in NEEDED
    )
    whole = ", ".join(f"`{name}`" for name in sorted(NEEDED))
    alone, eight = (sum(summary_series(SIGNALS, NEEDED, ranks=ranks).values()) for ranks in (1, 8))
    rows = [
        (summary_names(example.name, example.unit, suffix)[2], f"{word.lower()} over the ranks and environments")
        for suffix, word in STATISTICS.items()
    ]
    rows += [
        (summary_names(example.name, example.unit, suffix)[2], f"number of the worst one, by `{part}`")
        for part, suffix in WORST.items()
    ]
    parts = " and ".join(f"`{part}`" for part in PARTS)
    text = textwrap.fill(
        f"With `ESPER_OTEL_METRICS=summary` a relay exports its ranks and environments as one. Counters, histograms and"
        f" states of more than one lose the attributes {parts} and are added up under their own name. A gauge of more"
        f" than {MANY} loses them too, and is exported under other names alone; for `{example.prometheus_name}`:",
        120,
        break_on_hyphens=False,
    )
    after = textwrap.fill(
        "The worst is the largest where only a largest value has limits, the smallest where only a smallest one has,"
        " else the farthest from the median. What an alert or a recording rule asks for stays whole. Planned series of"
        f" a relay of one rank are {alone:,} then, and {eight:,} of one of 8 ranks.",
        120,
    )
    lines = [
        "",
        "## Summary mode",
        "",
        text,
        "",
        *(f"* `{name}`: {meaning}" for name, meaning in rows),
        "",
        after,
        "",
        textwrap.fill(f"Whole: {whole}.", 120, break_on_hyphens=False, break_long_words=False),
    ]
    return "\n".join(lines) + "\n"
