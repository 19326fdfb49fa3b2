"""Simic: the reinforcement-learning loop around Tamiyo and Tolaria: rewards, attribution, detectors, telemetry."""
