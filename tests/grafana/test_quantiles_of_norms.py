"""Quantiles of a histogram on the dashboards: a bucket's bound must not be shown above every observation in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.grafana.asked import verdict
from tests.grafana.substituted import Target, lines

RUN = 'job="esper",instance="run",group_id="default"'
PANELS = {
    "Gradient norm before and after": "tolaria_update",
    "Gradient norm before and after clipping": "tamiyo",
}
PEAK, P99, MEAN = "ABC"
LARGEST = 0.375
"""Every norm of the run; the bucket ends at 1."""


def _line(panel: str, ref: str) -> Target:
    return next(one for one in lines() if one.panel == panel and one.ref == ref)


def _asked(directory: Path, line: Target, prefix: str, *, still: bool) -> str:
    """Report of promtool on the line being the largest norm, or nothing where no update has come for long."""
    grows = "0+1x20 20x60" if still else "0+1x80"
    none = "0x80"
    buckets = {"0.3": none, "1": grows, "+Inf": grows}
    histogram = f"{prefix}_pre_clip_grad_norm_bucket"
    total = "0+0.375x20 7.5x60" if still else "0+0.375x80"
    given = {
        **{f'{histogram}{{{RUN},le="{le}"}}': values for le, values in buckets.items()},
        f"{prefix}_pre_clip_grad_norm_count{{{RUN}}}": grows,
        f"{prefix}_pre_clip_grad_norm_sum{{{RUN}}}": total,
        f"{prefix}_max_pre_clip_grad_norm{{{RUN}}}": f"{LARGEST}x80",
    }
    asked = f"{line.filled(job='esper', instance='run', window='5m')} >= 0"  # NaN, which is not drawn, is left out
    return verdict(directory, asked, given, {} if still else {'{group_id="default"}': LARGEST}, at="18m")


@pytest.mark.parametrize("ref", [PEAK, P99, MEAN])
@pytest.mark.parametrize("panel", PANELS)
def test_no_quantile_of_the_norm_lies_above_its_peak(tmp_path: Path, panel: str, ref: str) -> None:
    assert "SUCCESS" in _asked(tmp_path, _line(panel, ref), PANELS[panel], still=False)


@pytest.mark.parametrize("panel", PANELS)
def test_without_a_new_update_there_is_no_quantile(tmp_path: Path, panel: str) -> None:
    assert "SUCCESS" in _asked(tmp_path, _line(panel, P99), PANELS[panel], still=True)
