"""What every test starts from, however pytest was started."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("campaign", max_examples=5_000, deadline=None)
"""Of 'make lines': pytest --hypothesis-profile campaign."""


def pytest_configure() -> None:
    """A shell ignores SIGINT for its background jobs, and so would every process that a test sends it to."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
