"""Generators of the pages under ``docs/reference`` that are derived from the code."""

from pathlib import Path

from esper_otel.alerts import summary_page
from esper_otel.signals import catalogue as signals
from esper_otel.sql import catalogue as views
from scripts.reference import commands, events, frameworks, settings


def generated(root: Path) -> dict[Path, str]:
    """Content of every generated reference page, by its path under the repository ``root``."""
    shelf = root / "docs" / "reference"
    return {
        shelf / "signals.md": signals.markdown() + summary_page.markdown(),
        shelf / "views.md": views.markdown(),
        shelf / "events.md": events.markdown(),
        shelf / "cli.md": commands.markdown(),
        shelf / "settings.md": settings.markdown(),
        shelf / "frameworks.md": frameworks.markdown(),
    }
