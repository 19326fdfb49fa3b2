"""The slow part, which ``make packaging`` runs: everything at once, and the lower bounds of pyproject.toml.

It needs a package index, for versions that nobody has in a cache.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.packaging.installed import PINNED, Environment, uv, wheel_in
from tests.packaging.uses import USES, use


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel_in(tmp_path_factory.mktemp("wheel"))


@pytest.mark.parametrize("extra", [*USES, "all"])
def test_an_extra_works_with_the_oldest_packages_that_it_allows(wheel: Path, tmp_path: Path, extra: str) -> None:
    pins = tmp_path / "oldest.txt"
    wanted = ("--extra", extra) if extra else ()
    oldest = ("--resolution", "lowest-direct", "--only-binary", ":all:", "--python-version", "3.11")
    uv("pip", "compile", "--quiet", "pyproject.toml", *wanted, *oldest, "--output-file", str(pins))

    use(Environment(tmp_path / "environment", wheel, extra, "-c", str(pins)), tmp_path)


def test_all_extras_together_do_what_each_is_for(wheel: Path, tmp_path: Path) -> None:
    use(Environment(tmp_path / "environment", wheel, "all", *PINNED), tmp_path)
