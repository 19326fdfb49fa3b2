"""OpenTelemetry's proposed names of reinforcement learning, where they are asked for, at a real receiver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from esper_otel.runtime.relay_environment import checked_environment
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay.processes import relay, training
from tests.waiting import PATIENCE_S


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("conventions")
    with training(directory, "--rounds", "2") as trainer:
        trainer.communicate(timeout=PATIENCE_S)
    return directory / "run"


def received(run: Path, **env: str) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any], str]:
    """Attributes of the spans of a run by name, those of its resource, and what the relay prints."""
    with OtlpReceiver() as receiver:
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint}
        with relay(run, "--linger", "0", "--from-start", **endpoint, **env) as once:
            _, printed = once.communicate(timeout=PATIENCE_S)
        found: dict[str, list[dict[str, Any]]] = {}
        for span in receiver.spans:
            found.setdefault(span.name, []).append(attributes(span))
        return found, receiver.resources[0], printed


def names_of_the_proposal(spans: dict[str, list[dict[str, Any]]], resource: dict[str, Any]) -> set[str]:
    in_spans = {key for found in spans.values() for span in found for key in span}
    return {name for name in {*spans, *in_spans, *resource} if name.startswith("rl.")}


def test_nobody_gets_them_unasked(run: Path) -> None:
    spans, resource, _ = received(run)

    assert names_of_the_proposal(spans, resource) == set()
    assert "simic.round" in spans


def test_spans_have_the_names_of_the_proposal_and_its_attributes_beside_ours(run: Path) -> None:
    spans, resource, _ = received(run, ESPER_OTEL_SEMCONV_OPT_IN="rl", OTEL_SERVICE_NAME="my-policy")

    assert {"rl.loop", "rl.train"} <= set(spans)
    assert {"simic.round", "tamiyo.policy_update", "tolaria.episode"} & set(spans) == set()
    assert [span["rl.loop.iteration"] for span in spans["rl.loop"]] == [1, 2]
    assert {span["rl.run.id"] for name in ("rl.loop", "rl.train") for span in spans[name]} == {"run"}
    assert all(span["rl.run.id"] == span["esper.run.id"] for span in spans["rl.loop"])
    assert (resource["rl.run.id"], resource["rl.system"]) == (resource["esper.run.id"], "my-policy")


def test_with_dup_the_spans_keep_our_names(run: Path) -> None:
    spans, resource, _ = received(run, ESPER_OTEL_SEMCONV_OPT_IN="rl/dup")

    assert {"simic.round", "tamiyo.policy_update"} <= set(spans)
    assert [span["rl.loop.iteration"] for span in spans["simic.round"]] == [1, 2]
    assert resource["rl.system"] == "esper"


def test_what_only_the_user_knows_comes_from_the_resource_attributes(run: Path) -> None:
    given = "rl.system=trl,rl.algorithm=GRPO,rl.environment.name=math"
    _, resource, _ = received(run, ESPER_OTEL_SEMCONV_OPT_IN="rl", OTEL_RESOURCE_ATTRIBUTES=given)

    assert {"rl.system": "trl", "rl.algorithm": "GRPO", "rl.environment.name": "math"}.items() <= resource.items()


def test_another_value_is_said_at_once_and_by_the_relay_and_changes_nothing(run: Path) -> None:
    spans, resource, printed = received(run, ESPER_OTEL_SEMCONV_OPT_IN="gen_ai")
    _, problems = checked_environment({"ESPER_OTEL_SEMCONV_OPT_IN": "gen_ai"})

    assert names_of_the_proposal(spans, resource) == set()
    assert "ESPER_OTEL_SEMCONV_OPT_IN=gen_ai: expected rl or rl/dup" in printed
    assert problems == ["ESPER_OTEL_SEMCONV_OPT_IN='gen_ai' must be one of rl, rl/dup. Names stay as they are."]
