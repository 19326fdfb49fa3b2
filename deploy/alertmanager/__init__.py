"""Alertmanager: receivers of alerts, and inhibition of one alert by another."""
