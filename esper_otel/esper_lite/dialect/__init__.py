"""esper-lite's dialect: conversion of its events to ours, and of ours to its format.

esper-lite's names are declared on the fields in :mod:`esper_otel.events`; only what a field's alias cannot
express (nesting, positional lists, invented values) is listed here, in :mod:`esper_otel.esper_lite.dialect.table`.
"""
