"""The images are built from pinned bases and run as the user that the pods name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.k8s.rendering import Rendered
from tests.tools import ROOT

DOCKERFILES = [ROOT / "deploy" / "collector" / "Dockerfile", ROOT / "deploy" / "k8s" / "Dockerfile.trainer"]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_base_is_named_once_and_has_a_tag(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    bases = re.findall(r"^ARG (\w+_IMAGE)=\S+?:(\S+)$", text, re.MULTILINE)

    assert {f"${{{name}}}" for name, _ in bases} == set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert "latest" not in {tag for _, tag in bases}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_user_is_that_of_the_pods(dockerfile: Path, example: Rendered) -> None:
    users = {
        f"{context['runAsUser']}:{context['runAsGroup']}"
        for context in (pod.spec["securityContext"] for pod in example.pods)
    }
    (*_, user) = re.findall(r"^USER (\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)

    assert {user} == users


def test_what_the_trainers_image_copies_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILES[1].read_text(encoding="utf-8"), re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    ignore = (ROOT / "deploy" / "k8s" / "Dockerfile.trainer.dockerignore").read_text(encoding="utf-8").splitlines()

    assert names == {line.removeprefix("!") for line in ignore if line.startswith("!")}
    assert [True] * len(names) == [(ROOT / name).exists() for name in sorted(names)]
