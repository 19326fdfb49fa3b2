"""esper-lite's dialect: reading its events into ours, and writing ours the way it would.

What esper-lite calls a field stands beside the field in :mod:`esper_otel.events`; only what a field's alias cannot
express (nesting, positional lists, invented values) is listed here, in :mod:`esper_otel.upstream.dialect`.
"""
