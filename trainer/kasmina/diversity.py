"""How different the seeds of one host are from each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def blueprint_diversity(blueprint_ids: Sequence[str]) -> float | None:
    """Shannon entropy of the blueprints in use over its maximum ln(n), in [0, 1].

    1 when all ``n`` seeds differ, 0 when all are alike; None below two seeds, where there is nothing to compare.
    Source: Pielou's evenness (1966) with ln(n seeds) as the maximum.
    """
    n = len(blueprint_ids)
    if n < 2:
        return None
    shares = [count / n for count in Counter(blueprint_ids).values()]
    return max(0.0, -sum(p * math.log(p) for p in shares) / math.log(n))
