"""A read-only MCP server over the SQL views, so that an assistant can be asked about runs.

``tools`` is what an assistant sees, the only module that needs the ``mcp`` package. Questions are answered by a
process of its own (``worker``), which ``asker`` ends when one takes too long: reading a log and DuckDB's own work can
be stopped in no other way at every moment.
"""
