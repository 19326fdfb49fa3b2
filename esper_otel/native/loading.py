"""Loading of the part in C, and the check that its lines are those of the installed msgspec."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from typing import Any, Final

import msgspec

from esper_otel.native.plan import packed, packed_shape

VARIABLE: Final = "ESPER_OTEL_NATIVE"
_OFF: Final = frozenset({"0", "false", "no", "off"})

_SAMPLES: Final = (
    *(0.0, -0.0, 1.0, -1.5, 0.1, 1e15, 1e16, 123456789012345.6, 1.5e-5, 1e-6, 2.5e-7, 5e-324, 1.7976931348623157e308),
    *(0, -1, 2**63 - 1, -(2**63), True, False, None, "".join(map(chr, range(300))), "null", {"a": [1.5, ()]}),
)
"""Values that releases of msgspec may write in different ways: the lines of one log have one form."""


def core() -> Any:
    """The module in C, with its classes ``Queue`` and ``Recorder``; None where recording is in Python."""
    return _loaded()[0]


def state() -> str:
    """``native``, or ``python`` with the reason in parentheses."""
    reason = _loaded()[1]
    return f"python ({reason})" if reason else "native"


def powers() -> bytes:
    """The powers of ten from -292 to 324, each as 128 bits, rounded up, with the highest bit set."""
    table = []
    for exponent in range(-292, 325):
        power = 10 ** abs(exponent)
        if exponent < 0:
            found = -(-(1 << (127 + power.bit_length())) // power)
            found = found if found < 1 << 128 else -(-found >> 1)
        else:
            shift = 128 - power.bit_length()
            found = power << shift if shift >= 0 else -(-power >> -shift)
        table.append((found >> 64).to_bytes(8, "little") + (found & (1 << 64) - 1).to_bytes(8, "little"))
    return b"".join(table)


@cache
def _loaded() -> tuple[Any, str]:
    if os.environ.get(VARIABLE, "").strip().lower() in _OFF:
        return None, f"{VARIABLE} switches the native part off"
    try:
        module = import_module("esper_otel.native._recording")
    except ImportError:
        return None, "the native part was not built"
    try:
        module.set_powers(powers())
        is_same = _line(module) == b'{"values":%s}\n' % msgspec.json.encode(_SAMPLES)
    except Exception as error:  # an interpreter that it does not know
        return None, f"the native part failed: {type(error).__name__}: {error}"
    if not is_same:
        return None, f"msgspec {msgspec.__version__} writes some values in another form than the native part"
    return module, ""


def _line(module: Any) -> bytes:
    """A line that the native part writes of the samples, without its number and time."""
    plan = packed([b"", b"", b"{", b"", b"", b"", b"", b"", b'"values":'], (-1, -1, -1), [0])
    queue, recorder = module.Queue(), module.Recorder()
    queue.limit, queue.bytes, queue.is_open, queue.plans = 1, 1 << 16, True, {}
    names = ("values",)
    recorder.queue, recorder.plan, recorder.shapes = queue, plan, {names: packed_shape(names, names)}
    recorder.slow = dict  # which makes no line
    recorder.record(values=_SAMPLES)
    lines: bytes = queue.take(0, 1, 0, 0, 0)[0]
    return b"{" + lines.partition(b"{")[2].removesuffix(b"0}\n") + b"}\n"
