"""Bucket bounds of the histograms.

Bounds are floats inside [1e-4, 999999]: outside it the ``le`` label is spelled differently by the scrape and the OTLP
path of Prometheus.
"""

from typing import Final

SECONDS: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Durations from one training step to a long round, s."""

NORM: Final = (
    0.001,
    0.003,
    0.01,
    0.03,
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
    3000.0,
    10000.0,
    30000.0,
    100000.0,
)
"""L2 norms of gradients: two buckets a decade around the clipping limit and the alert limits (10 and 100)."""

DIVERGENCE: Final = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 1.0, 3.0)
"""KL divergences in nats; the trust region's limits (0.02, 0.05, 0.1) are bounds."""
