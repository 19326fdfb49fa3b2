"""Answers statements with chDB: a line of JSON for each line of JSON; run by the Python of chDB's own environment."""

import json
import sys
from pathlib import Path

from chdb import session

engine = session.Session()
for line in sys.stdin:
    asked = json.loads(line)
    try:
        answer = engine.query(asked["sql"], asked["form"])
        if asked["to"]:
            Path(asked["to"]).write_bytes(answer.bytes())
        told = {"text": "" if asked["to"] else answer.bytes().decode()}
    except Exception as error:  # chDB raises many types, and each is the answer
        told = {"error": str(error)}
    print(json.dumps(told), flush=True)
