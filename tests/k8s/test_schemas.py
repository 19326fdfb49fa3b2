"""Every object that kustomize renders is valid by the real schemas, unknown fields refused."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest

from tests.k8s.rendering import EXAMPLE, MANIFESTS, Object, Rendered, render, render_with
from tests.k8s.schemas import complaints, custom_schemas


def test_every_object_of_the_example_is_valid(example: Rendered) -> None:
    assert [] == [said for thing in example.objects for said in complaints(thing)]


@pytest.mark.parametrize("part", ["base", "training", "job"])
def test_each_part_can_be_applied_alone(part: str) -> None:
    assert [] == [said for thing in render(MANIFESTS / part).objects for said in complaints(thing)]


@pytest.mark.parametrize("component", ["gpu", "gpu-dra"])
def test_it_is_valid_with_a_gpu(component: str, tmp_path: Path) -> None:
    rendered = render_with(tmp_path, component)

    assert [] == [said for thing in rendered.objects for said in complaints(thing)]


def test_an_installation_starts_no_training_and_can_be_applied_again() -> None:
    assert not render(EXAMPLE).of("Job")


def test_no_object_is_there_twice(example: Rendered) -> None:
    names = [(each["kind"], each["metadata"].get("namespace"), each["metadata"]["name"]) for each in example.objects]

    assert sorted(set(names), key=str) == sorted(names, key=str)


@pytest.mark.parametrize(
    ("kind", "path", "value", "complaint"),
    [
        ("StatefulSet", ("spec", "serviceNmae"), "esper-gateway", "serviceNmae"),
        ("DaemonSet", ("spec", "template", "spec", "containers", 0, "ports", 0, "containerPort"), "4317", "integer"),
        ("NetworkPolicy", ("spec", "podSelectors"), {}, "podSelectors"),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "fore"), "5m", "fore"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "scrapeInterval"), "15s", "scrapeInterval"),
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "soon", "soon"),
        ("Certificate", ("spec", "secretName"), 5, "string"),
    ],
)
def test_a_mistake_is_noticed(
    example: Rendered, kind: str, path: tuple[str | int, ...], value: object, complaint: str
) -> None:
    thing = deepcopy(example.of(kind)[0])
    place: Object = thing
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    (said,) = {each.partition(": ")[2] for each in complaints(thing)}

    assert complaint in said


def test_the_schemas_of_all_custom_kinds_were_found() -> None:
    kinds = {kind for _, kind in custom_schemas()}

    assert {"PrometheusRule", "ServiceMonitor", "PodMonitor", "Certificate", "Issuer"} == kinds
