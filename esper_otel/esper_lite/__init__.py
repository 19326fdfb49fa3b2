"""esper-lite as a producer: a backend for its hub, and what attaches that without a change to it.

Nothing here imports esper-lite: what it hands over is known by its shape, so that every version of it will do.
"""
