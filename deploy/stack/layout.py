"""The programs of a stack and their ports, chosen before any of them is started."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from deploy.stack.program import HOST, Ports, Settings, StackError, executable
from deploy.stack.scraping import Way

EXECUTABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager", "prometheus-alertmanager"),
    "collector": ("otelcol-esper", "otelcol-contrib"),
    "tempo": ("tempo",),
    "loki": ("loki",),
    "grafana": ("grafana",),
}
"""Names of the executable of each program, the upstream one first; Debian's Alertmanager has one of its own."""

HOW_TO_GET: Final[Mapping[str, str]] = {
    "prometheus": "'make tools', or 'apt-get install prometheus'",
    "alertmanager": "'make tools', or 'apt-get install prometheus-alertmanager'",
    "collector": "'make tools', which builds it from deploy/collector/builder.yaml",
    "grafana": "unpack a release of Grafana 12 into .tools, or use --grafana PATH",
}
PORTS: Final[Mapping[str, Mapping[str, int]]] = {
    "prometheus": {"prometheus": 9090},
    "alertmanager": {"alertmanager": 9093},
    "collector": {"otlp_http": 4318, "otlp_grpc": 4317, "exporter": 8889, "collector": 8888, "health": 13133},
    "tempo": {"tempo": 3200, "tempo_grpc": 9095, "tempo_otlp": 14318},
    "loki": {"loki": 3100, "loki_grpc": 9096},
    "grafana": {"grafana": 3000},
}
"""The usual port of everything that listens, by program; Tempo's own OTLP port gives way to the collector's."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of one stack.

    Attributes:
        settings: options of the stack.
        executables: path of each program that takes part.
        ports: port of everything that listens, by the names in :data:`PORTS`.
    """

    settings: Settings
    executables: Mapping[str, str]
    ports: Mapping[str, int]

    def has(self, program: str) -> bool:
        """True if the program takes part."""
        return program in self.executables

    def address(self, what: str) -> str:
        """Host and port."""
        return f"{HOST}:{self.ports[what]}"

    def url(self, what: str) -> str:
        """Address with its scheme."""
        return f"http://{self.address(what)}"

    def data(self, *parts: str) -> Path:
        """A path under the data directory."""
        return self.settings.data_dir.absolute().joinpath(*parts)


def layout(settings: Settings) -> Layout:
    """Find the programs and choose their ports.

    Raises:
        StackError: a program that is needed is missing.
    """
    found = {name: path for name, names in EXECUTABLES.items() if (path := executable(settings, name, *names))}
    needed = ["prometheus", "alertmanager", *(["collector"] if settings.way is Way.OTLP else [])]
    for name in needed:
        if name not in found:
            names = " or ".join(EXECUTABLES[name])
            raise StackError(f"{names} is not on the PATH: install it with {HOW_TO_GET[name]}, or use --{name} PATH")
    ports = Ports(standard=settings.standard_ports)
    taken = {what: ports.take(usual) for name in found for what, usual in PORTS[name].items()}
    return Layout(settings=settings, executables=found, ports=taken)
