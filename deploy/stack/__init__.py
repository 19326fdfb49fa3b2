"""The stack that watches runs, from binaries: Prometheus, Alertmanager, the collector; Tempo, Loki, Grafana if there.

``python -m deploy.stack`` is what ``make stack`` runs, with the configuration that is shipped. ``deploy/compose.yaml``
is the same with Docker; both take the scrape configuration from :mod:`deploy.stack.scraping`.
"""
