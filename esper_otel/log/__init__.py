"""The event log: an append-only file of JSON lines per rank, its writer, its reader and their helpers.

Nothing here may import torch or OpenTelemetry: the writer lives in the training process, which must load neither on
account of telemetry.
"""
