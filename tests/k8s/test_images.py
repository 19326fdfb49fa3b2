"""The images are built from pinned bases and run as the user that the pods name."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest

from tests.k8s.rendering import Rendered
from tests.packaging.installed import wheel_in
from tests.tools import ROOT

DOCKERFILES = [ROOT / "deploy" / "collector" / "Dockerfile", ROOT / "deploy" / "k8s" / "Dockerfile.trainer"]
IGNORED_INSIDE = ("__pycache__", "*.so")


def dockerignore() -> list[str]:
    """Lines of the trainer's list of what is sent to the build, without comments."""
    text = (ROOT / "deploy" / "k8s" / "Dockerfile.trainer.dockerignore").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


def copies(dockerfile: str) -> list[str]:
    """What a Dockerfile, or a stage of one, copies from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    return [name for line in lines for name in line.split()]


def build_stage_copies() -> list[str]:
    """What the stage of the trainer's image that builds the wheel has."""
    stages = re.split(r"^FROM ", DOCKERFILES[1].read_text(encoding="utf-8"), flags=re.MULTILINE)
    return copies(stages[1])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_every_base_is_named_once_and_has_a_tag(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    bases = re.findall(r"^ARG (\w+_IMAGE)=\S+?:(\S+)$", text, re.MULTILINE)

    assert {f"${{{name}}}" for name, _ in bases} == set(re.findall(r"^FROM (\S+)", text, re.MULTILINE))
    assert "latest" not in {tag for _, tag in bases}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_engine_reads_a_dockerfile_by_itself_without_the_image_of_a_frontend(dockerfile: Path) -> None:
    assert "syntax" not in dockerfile.read_text(encoding="utf-8").splitlines()[0]


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_the_user_is_that_of_the_pods(dockerfile: Path, example: Rendered) -> None:
    users = {
        f"{context['runAsUser']}:{context['runAsGroup']}"
        for context in (pod.spec["securityContext"] for pod in example.pods)
    }
    (*_, user) = re.findall(r"^USER (\S+)$", dockerfile.read_text(encoding="utf-8"), re.MULTILINE)

    assert {user} == users


def test_what_the_trainers_image_copies_is_there_and_not_ignored() -> None:
    names = set(copies(DOCKERFILES[1].read_text(encoding="utf-8")))

    assert names == {line.removeprefix("!") for line in dockerignore() if line.startswith("!")}
    assert [True] * len(names) == [(ROOT / name).exists() for name in sorted(names)]


def test_the_wheel_is_built_from_what_the_trainers_image_copies_and_holds_nothing_built_here(tmp_path: Path) -> None:
    source, sent = tmp_path / "src", shutil.ignore_patterns(*IGNORED_INSIDE)
    for name in build_stage_copies():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=sent)
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source)

    without_compiler = {"ESPER_OTEL_NATIVE": "0"}
    wheel = wheel_in(tmp_path / "wheel", source, **without_compiler)

    assert [] == [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith((".so", ".pyc"))]


def test_a_new_volume_of_the_telemetry_directory_belongs_to_the_trainers_user() -> None:
    made = re.findall(r"^RUN install -d -o (\d+) -g (\d+) /telemetry$", DOCKERFILES[1].read_text(), re.MULTILINE)

    assert [("10001", "10001")] == made


def test_nothing_built_for_the_machine_of_the_checkout_is_sent_to_the_build() -> None:
    assert {"**/__pycache__", "**/*.so"} <= set(dockerignore())
