from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parity.translators import GoTranslator


@pytest.fixture(scope="session")
def go(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoTranslator]:
    with GoTranslator.built_in(tmp_path_factory.mktemp("otlptranslator")) as translator:
        yield translator
