"""Run by Python at its start where ``esper-otel run`` started the program, in every process of it.

It listens for torch, and leaves the way free for the ``sitecustomize`` that this one hides.
"""

import importlib
import sys
from pathlib import Path


def _listen() -> None:
    try:
        from esper_otel.automatic.door import listen

        listen()
    except Exception as error:  # whatever is wrong with us, the program runs
        print(f"esper_otel: nothing is recorded: {type(error).__name__}: {error}", file=sys.stderr)


def _hidden() -> None:
    here = Path(__file__).parent
    ours, before = sys.modules.pop("sitecustomize", None), list(sys.path)
    sys.path[:] = [entry for entry in before if Path(entry or ".") != here]
    try:
        importlib.import_module("sitecustomize")
    except ModuleNotFoundError as error:
        if error.name != "sitecustomize":
            raise
    finally:
        sys.path[:] = before
        if ours is not None:
            sys.modules.setdefault("sitecustomize", ours)


_listen()
_hidden()
