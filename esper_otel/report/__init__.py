"""The report of a run: one HTML page with its charts, which needs no server and no network.

Example::

    from esper_otel.report.page import write_report

    write_report("telemetry/latest", "report.html")
"""
