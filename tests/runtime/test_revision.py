"""The commit of the program that trains, as git says it too."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from esper_otel.runtime.revision import commit_around


def _git(directory: Path, *command: str) -> str:
    given = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *given, *command], cwd=directory, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    (directory / "inside").mkdir(parents=True)
    _git(directory, "init", "-q")
    _git(directory, "commit", "-q", "--allow-empty", "-m", "first")
    return directory


def test_the_commit_of_a_branch_is_known_from_anywhere_inside(repository: Path) -> None:
    assert _git(repository, "rev-parse", "HEAD") == commit_around(repository / "inside")


def test_the_commit_of_a_packed_branch_is_known(repository: Path) -> None:
    _git(repository, "pack-refs", "--all")

    assert _git(repository, "rev-parse", "HEAD") == commit_around(repository)


def test_the_commit_without_a_branch_is_known(repository: Path) -> None:
    _git(repository, "checkout", "-q", "--detach")

    assert _git(repository, "rev-parse", "HEAD") == commit_around(repository)


@pytest.mark.parametrize("packed", [False, True])
def test_the_commit_of_a_worktree_is_known(repository: Path, tmp_path: Path, packed: bool) -> None:
    _git(repository, "worktree", "add", "-q", "-b", "other/branch", str(tmp_path / "other"))
    _git(tmp_path / "other", "commit", "-q", "--allow-empty", "-m", "second")
    if packed:
        _git(repository, "pack-refs", "--all")

    assert _git(tmp_path / "other", "rev-parse", "HEAD") == commit_around(tmp_path / "other")


def test_outside_a_repository_and_before_its_first_commit_there_is_none(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    _git(empty, "init", "-q")

    assert [None, None] == [commit_around(tmp_path), commit_around(empty)]


@pytest.mark.parametrize("broken", ["HEAD", "packed-refs", "nothing"])
def test_a_broken_repository_has_none_and_raises_nothing(repository: Path, broken: str) -> None:
    _git(repository, "pack-refs", "--all")
    (repository / ".git" / broken).write_bytes(b"\xff\x00 broken")

    found = commit_around(repository)

    assert (None if broken != "nothing" else _git(repository, "rev-parse", "HEAD")) == found
