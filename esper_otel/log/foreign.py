"""Files that hold no log in a form that is read here, recognised by their first bytes.

Read as text they would give thousands of damaged stretches, and not the one sentence that helps.
"""

from __future__ import annotations

import errno
import io
import os
import re
from pathlib import Path
from typing import Final

_PACKED: Final = "packed with {}; unpack it, or pack it with gzip or zstd"
_KINDS: Final = (
    (re.compile(rb"\xfd7zXZ\0"), _PACKED.format("xz")),
    (re.compile(rb"BZh[1-9]1AY&SY"), _PACKED.format("bzip2")),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), _PACKED.format("7z")),
    (re.compile(rb"PK\x03\x04"), _PACKED.format("zip")),
    (re.compile(rb"\x04\x22\x4d\x18"), _PACKED.format("lz4")),
    (
        re.compile(rb"(?:\xff\xfe)?\{\0\"\0|(?:\xfe\xff)?\0\{\0\""),
        "text in UTF-16; convert it: iconv -f UTF-16 -t UTF-8",
    ),
    (re.compile(rb"PAR1"), "a Parquet file; give the directory that 'esper-otel compact' made"),
    (re.compile(rb"SQLite format 3\0"), "an SQLite database"),
)
_LONGEST: Final = 16


def refuse_foreign(file: io.FileIO, path: Path) -> None:
    """Return unless ``file`` is of a kind that gives no line.

    Raises:
        OSError: it is; the message says which, and what to do.
    """
    head = os.pread(file.fileno(), _LONGEST, 0)
    kind = next((kind for begins, kind in _KINDS if begins.match(head)), None)
    if kind is not None:
        raise OSError(errno.EINVAL, f"is {kind}", str(path))
