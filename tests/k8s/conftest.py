"""One rendering for all tests: it is read, never changed."""

from __future__ import annotations

import pytest

from tests.k8s.rendering import EXAMPLE, Rendered, render


@pytest.fixture(scope="session")
def example() -> Rendered:
    """The example overlay: everything there is, but the GPU components."""
    return render(EXAMPLE)
