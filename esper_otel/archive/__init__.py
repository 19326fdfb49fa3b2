"""Archive of runs on object storage: addresses, access, layout, listing and download.

``docs/reference/archive-format.md`` is the layout. :mod:`esper_otel.sql.archiving` writes archives; what is here knows
nothing of views or rows.
"""
