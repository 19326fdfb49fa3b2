"""The server as an assistant starts it, asked with the official client over standard input and output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, StdioServerParameters

from tests.tools import python_environment, tool


class Assistant:
    """A session with a server."""

    def __init__(self, portal: BlockingPortal, client: Client) -> None:
        self._portal = portal
        self.client = client

    def tools(self) -> list[Any]:
        return self._portal.call(self.client.list_tools).tools

    def says(self, name: str, **arguments: Any) -> tuple[bool, str]:
        """Whether the answer is an error, and its text."""
        result = self._portal.call(self.client.call_tool, name, arguments)
        (content,) = result.content
        return bool(result.is_error), content.text

    def asks(self, name: str, **arguments: Any) -> Any:
        """The answer's JSON."""
        is_error, text = self.says(name, **arguments)
        assert not is_error, text
        return json.loads(text)

    def fails(self, name: str, **arguments: Any) -> str:
        """The text of the error."""
        is_error, text = self.says(name, **arguments)
        assert is_error, text
        return text

    def rows(self, query: str, **arguments: Any) -> list[list[Any]]:
        return self.asks("query_sql", query=query, **arguments)["rows"]


@contextmanager
def assistant(*arguments: str | Path, temporary: Path | None = None) -> Iterator[Assistant]:
    """A session with ``esper-otel mcp ARGUMENTS``."""
    extra = {} if temporary is None else {"TMPDIR": str(temporary)}
    command = ["mcp", *map(str, arguments)]
    server = StdioServerParameters(command=tool("esper-otel"), args=command, env=python_environment(**extra))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Client(server)) as client:
        yield Assistant(portal, client)
