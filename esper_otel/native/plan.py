"""Layout of a plan: everything that the lines of one class, group and severity share, as ``line.h`` reads it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

_ABSENT: Final = 2**32 - 1
FIXED_PIECES: Final = 8
"""Pieces before the keys: of the id, class, group, tail and end, and the names of the values that the envelope has."""


def packed(pieces: Sequence[bytes], repeated: tuple[int, int, int], slots: Sequence[int]) -> bytes:
    """The plan as bytes.

    Args:
        pieces: texts of a line in JSON: up to the number in the id; up to the time; up to the data; from the data to
            the number; from there to the brace that ends the line; before seed, slot and epoch in the envelope; then
            the key of each field, colon included.
        repeated: numbers of the fields that are seed, slot and epoch; -1 for none.
        slots: position of each field in an instance, in pointers; 0 where it is not known.
    """
    count = len(pieces) - FIXED_PIECES
    begin = 4 * 5 + 8 * len(pieces) + 4 * count
    places = []
    for piece in pieces:
        places += [begin, len(piece)]
        begin += len(piece)
    fields = [_ABSENT if field < 0 else field for field in repeated]
    numbers = [begin, count, *fields, *places, *slots]
    return struct.pack(f"={len(numbers)}I", *numbers) + b"".join(pieces)


def packed_shape(fields: Sequence[str], names: tuple[str, ...]) -> bytes:
    """Addresses of ``names``, which must live as long as this; then each given field's number and place in the call.

    The latter are in the order of ``fields``.
    """
    places = {name: place for place, name in enumerate(names)}
    given = [(number, places[field]) for number, field in enumerate(fields) if field in places]
    return struct.pack(f"={len(names)}Q{2 * len(names)}H", *map(id, names), *(part for pair in given for part in pair))
