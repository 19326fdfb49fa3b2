"""Reader of environment variables: an invalid one does not stop training, it is reported and replaced by a default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from esper_otel.runtime.arguments import LONGEST_S, is_time
from esper_otel.runtime.identity import Place, place

_SWITCH: Final = {
    "1": True,
    "true": True,
    "yes": True,
    "on": True,
    "0": False,
    "false": False,
    "no": False,
    "off": False,
}


class Environment:
    """Reader of variables; invalid ones are replaced by a default.

    Attributes:
        place: what launchers tell of this process.
        problems: one message for each invalid variable.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        """Read nothing but the place of this process in its job."""
        self._variables = variables
        self.place: Place = place(variables)
        self.problems: list[str] = []

    def text(self, name: str) -> str:
        """Value of ``name`` without blanks around it; empty when it is not set."""
        return self._variables.get(name, "").strip()

    def words(self, name: str) -> list[str]:
        """The words of ``name``, which has commas between them."""
        return [word.strip() for word in self.text(name).split(",") if word.strip()]

    def refuse(self, name: str, expected: str, instead: str) -> None:
        """Report that ``name`` is invalid; ``instead`` is the replacement."""
        self.problems.append(f"{name}={self.text(name)[:100]!r} is ignored: it must be {expected}. {instead}")

    def flag(self, name: str, *, default: bool) -> bool:
        """A switch."""
        text = self.text(name).lower()
        if text and text not in _SWITCH:
            self.refuse(name, "0 or 1", f"{int(default)} applies.")
        return _SWITCH.get(text, default)

    def whole(self, name: str, default: int, least: int = 0) -> int:
        """A whole number."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and int(text) >= least):
            self.refuse(name, f"a whole number, {least} or more", f"{default} applies.")
            return default
        return int(text)

    def seconds(self, name: str, default: float) -> float:
        """A time."""
        text = self.text(name)
        try:
            seconds = float(text) if text else default
        except ValueError:
            seconds = -1.0
        if not is_time(seconds):
            self.refuse(name, f"a number of seconds from 0 to {LONGEST_S:.0f}", f"{default:g} applies.")
            return default
        return seconds
