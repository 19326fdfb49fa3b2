"""esper-lite's hub as a producer: an output backend, and an OpenTelemetry instrumentor that attaches it.

Nothing here imports esper-lite: its objects are recognised by shape, so that every version works.
"""
