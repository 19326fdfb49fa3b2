"""The package ``zstandard``, imported when a compressed file is met: recording alone does without it."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from esper_otel.text.extras import missing

EXTRA: Final = "compress"


def zstandard() -> ModuleType:
    """Return the package ``zstandard``.

    Raises:
        OSError: it is not installed.
    """
    try:
        import zstandard as package
    except ModuleNotFoundError:
        raise OSError(missing("zstandard", EXTRA)) from None
    return package
