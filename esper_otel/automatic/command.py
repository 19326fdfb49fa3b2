"""``esper-otel run`` as Typer describes it; the console script starts a program without Typer."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from esper_otel.automatic.start import start

PASSED_ON: Final = {"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False}
"""Settings of the command line: what follows the program is the program's."""


def run(
    program: Annotated[
        list[str],
        typer.Argument(
            metavar="PROGRAM [ARGS]...",
            help="A script, '-m MODULE' as for python, or a launcher such as torchrun, with its arguments.",
        ),
    ],
) -> None:
    """Run a training program and record it, without a line in it: 'esper-otel run train.py --lr 0.1'.

    All its Python processes are included: ranks of torchrun and of Lightning as well. A run begins with the first
    update of a process. It lies in ./telemetry or $ESPER_OTEL_TELEMETRY_DIR; one line on standard error says where, at
    which address its metrics are, and what draws it. Exit status: the program's.
    """
    start(program)


run.context_settings = PASSED_ON  # type: ignore[attr-defined]  # read where commands are registered
