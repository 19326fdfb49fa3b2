"""Types of event fields. Each allows None: a value that was not measured is left out."""

from typing import TypeAlias

Real: TypeAlias = float | None
"""A measured number; NaN and infinity are observations and are kept."""

Whole: TypeAlias = int | None
"""A whole number: a count, an index, a size in bytes."""

Flag: TypeAlias = bool | None
Text: TypeAlias = str | None
Texts: TypeAlias = tuple[str, ...] | None

Reals: TypeAlias = dict[str, float] | None
"""Numbers by name: of a head, an operation, a layer."""

Flags: TypeAlias = dict[str, bool] | None
