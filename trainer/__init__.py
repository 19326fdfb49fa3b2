"""A compact morphogenetic PPO trainer: a policy grows seed modules inside a host network while the host trains.

It is a real producer of the events that :mod:`esper_otel` declares and uses nothing of it but the public API.
"""
