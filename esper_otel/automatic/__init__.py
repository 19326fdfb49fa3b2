"""Telemetry of a training program that nobody changes: hooks in torch for the process, and three doors to them.

The doors are :func:`esper_otel.autolog`, ``esper-otel run`` and ``opentelemetry-instrument``. None imports torch: the
hooks are installed once the program has imported it.
"""
