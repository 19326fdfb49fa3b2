"""The runs of a telemetry directory: discovery, a list with state and outcome, and the index that both it and SQL use.

``places`` finds them. ``index`` is a file beside the runs that is derived from them: whatever is missing, outdated or
damaged in it is read again. ``summary`` reads a log into one row, ``listing`` has the rows, ``command`` prints them.
"""
