"""ClickHouse's times of the queries, by the Python of chDB's own environment: JSON in, JSON out."""

import json
import sys
import time

from chdb import session  # type: ignore[import-not-found]  # lies in .tools/chdb

asked = json.load(sys.stdin)
engine = session.Session()
began, used = time.perf_counter(), time.process_time()
engine.query(asked["script"])
found = {"": (time.perf_counter() - began, time.process_time() - used, 0)}
for name, query in asked["queries"].items():
    began, used = time.perf_counter(), time.process_time()
    rows = int(engine.query(query, "TSV").bytes().split(b"\t")[0])
    found[name] = (time.perf_counter() - began, time.process_time() - used, rows)
print(json.dumps(found))
