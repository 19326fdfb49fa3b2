import math

import pytest

from trainer.simic import detectors

FIRES = [
    ("ratio_explosion", lambda: detectors.ratio_anomalies(0.5, 5.1)),
    ("ratio_collapse", lambda: detectors.ratio_anomalies(0.09, 1.5)),
    ("value_collapse", lambda: detectors.value_anomalies(20.1, 0.0)),
    ("value_collapse", lambda: detectors.value_anomalies(0.1, 5.1)),
    ("gradient_explosion", lambda: detectors.gradient_anomalies(10.1, 0.0)),
    ("kl_spike", lambda: detectors.gradient_anomalies(1.0, 0.21)),
    ("kl_extreme", lambda: detectors.gradient_anomalies(1.0, 0.51)),
    ("entropy_collapse_op", lambda: detectors.entropy_anomalies({"op": 0.07}, {"op": 3})),
    ("gradient_norm_drift", lambda: detectors.drift_anomaly(2.6, 1.0)),
    ("gradient_health_drift", lambda: detectors.health_drift_anomaly(0.39, 0.8)),
    ("gradient_dead_layers", lambda: detectors.layer_anomalies(6, 0, 10)),
    ("gradient_exploding_layers", lambda: detectors.layer_anomalies(0, 1, 10)),
    ("numerical_instability", lambda: detectors.nonfinite_anomalies({"a": math.nan, "b": 1.0})),
]
SILENT = [
    lambda: detectors.ratio_anomalies(0.1, 5.0),
    lambda: detectors.value_anomalies(20.0, 5.0),
    lambda: detectors.gradient_anomalies(10.0, 0.2),
    lambda: detectors.entropy_anomalies({"op": 0.07}, {"op": 2}),
    lambda: detectors.entropy_anomalies({"op": 0.08}, {"op": 9}),
    lambda: detectors.drift_anomaly(2.5, 1.0),
    lambda: detectors.drift_anomaly(99.0, None),
    lambda: detectors.health_drift_anomaly(0.4, 0.8),
    lambda: detectors.health_drift_anomaly(0.0, None),
    lambda: detectors.layer_anomalies(5, 0, 10),
    lambda: detectors.nonfinite_anomalies({"a": 1e30}),
]


@pytest.mark.parametrize(("kind", "detect"), FIRES)
def test_the_detector_fires_just_beyond_its_threshold(kind, detect):
    assert [kind] == [anomaly.kind for anomaly in detect()]


@pytest.mark.parametrize("detect", SILENT)
def test_the_detector_is_silent_up_to_its_threshold(detect):
    assert detect() == []


@pytest.mark.parametrize(
    ("kind", "now", "before"),
    [
        ("plateau", 50.2, 50.0),
        ("improvement", 51.0, 50.0),
        ("degradation", 49.0, 50.0),
        (None, 50.5, 50.0),
        (None, 50.0, None),
    ],
)
def test_the_trend_of_the_rolling_accuracy(kind, now, before):
    found = detectors.trend(now, before)

    assert kind == (found.kind if found else None)


@pytest.mark.parametrize(("expected", "current"), [(None, 54.0), (pytest.approx(12.0), 52.8), (None, 66.0)])
def test_a_drop_counts_beyond_ten_percent_of_the_rolling_accuracy(expected, current):
    assert expected == detectors.performance_drop(current, 60.0)


@pytest.mark.parametrize(
    ("pattern", "contribution", "improvement"),
    [
        ("attribution_ratio", 26.0, 5.0),
        ("ransomware_signature", 6.0, -1.1),
        (None, 25.0, 5.0),
        (None, 6.0, -1.0),
        (None, 4.0, -20.0),
        (None, None, 1.0),
    ],
)
def test_credit_out_of_proportion_is_suspicious(pattern, contribution, improvement):
    found = detectors.reward_hacking(contribution, improvement)

    assert pattern == (found.pattern if found else None)


@pytest.mark.parametrize(("expected", "used"), [(None, 85.0), (pytest.approx(0.86), 86.0)])
def test_memory_is_short_beyond_85_percent(expected, used):
    assert expected == detectors.memory_pressure(used, 100.0)
