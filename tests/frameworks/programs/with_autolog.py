"""Run a program with one line before it, after its framework was imported: ``with_autolog.py PROGRAM ARGUMENTS``."""

import runpy
import sys

import stable_baselines3  # noqa: F401 - the line may come after it

import esper_otel

esper_otel.autolog()
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
