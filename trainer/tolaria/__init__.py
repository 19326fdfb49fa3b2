"""Tolaria: the host network, its data, its training and the governor that protects it."""
