"""The hop under test: two agents, a Kafka broker, two gateways and a receiver that counts, all real, on loopback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from tests.collector.certificates import write_certificates
from tests.collector.cluster import GATEWAY_TOKEN, NO_KUBERNETES, QUICK_RETRY, RELAY_TOKEN
from tests.collector.collectors import Collector
from tests.kafka.broker import Broker
from tests.kafka.tally import Tally

SIGNALS: Final = ("metrics", "traces", "logs")
PASSWORD: Final = "what-kafka-asks-for"
QUEUE_SIZE: Final = "otelcol_exporter_queue_size"


class Hop(msgspec.Struct, frozen=True):
    """Programs of the test.

    Attributes:
        sink: counts what arrives, for Mimir, Tempo and Loki.
        tls: directory with the certificates.
    """

    agents: list[Collector]
    broker: Broker
    gateways: list[Collector]
    sink: Tally
    tls: Path

    def relay_variables(self, agent: int) -> dict[str, str]:
        """Environment of a relay that sends to an agent."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.agents[agent].url("HTTP", "https"),
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(self.tls / "ca.crt"),
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{RELAY_TOKEN}",
        }


@contextmanager
def hop(directory: Path, *, decision_wait_s: float) -> Iterator[Hop]:
    """Start everything; every round is kept as a trace, so that spans can be counted.

    Args:
        directory: for certificates, queues, data and logs.
        decision_wait_s: how long a gateway waits for the root of a round.
    """
    tls = write_certificates(directory / "tls")
    for name, secret in (("relay.token", RELAY_TOKEN), ("gateway.token", GATEWAY_TOKEN), ("password", PASSWORD)):
        (directory / name).write_text(secret)
    users, topics = ("esper-agent", "esper-gateway"), [f"esper-{signal}" for signal in SIGNALS]
    with ExitStack() as running:
        sink = running.enter_context(Tally())
        broker = running.enter_context(Broker(directory / "broker", tls, dict.fromkeys(users, PASSWORD), topics))
        common = {
            "COLLECTOR_TLS_DIR": str(tls),
            "COLLECTOR_RELAY_TOKEN_FILE": str(directory / "relay.token"),
            "COLLECTOR_GATEWAY_TOKEN_FILE": str(directory / "gateway.token"),
            "COLLECTOR_KAFKA_BROKERS": broker.address,
            "COLLECTOR_KAFKA_CA_FILE": str(tls / "ca.crt"),
            "COLLECTOR_KAFKA_PASSWORD_FILE": str(directory / "password"),
            "K8S_NODE_NAME": "node",
        }
        of_gateways = {
            **common,
            **{f"COLLECTOR_{signal.upper()}_URL": sink.http_endpoint for signal in SIGNALS},
            "COLLECTOR_HEALTHY_PERCENT": "100",
            "COLLECTOR_DECISION_WAIT": f"{decision_wait_s:g}s",
            "COLLECTOR_DECISION_WAIT_AFTER_ROOT": "1s",
        }
        quick = {"exporters": {f"otlp_http/{signal}": {"retry_on_failure": QUICK_RETRY} for signal in SIGNALS}}
        gateways = [
            Collector(
                "gateway", directory / f"gateway{n}", quick, more="kafka", COLLECTOR_KAFKA_MEMBER=f"{n}", **of_gateways
            )
            for n in range(2)
        ]
        agents = [Collector("agent", directory / f"agent{n}", NO_KUBERNETES, more="kafka", **common) for n in range(2)]
        for collector in (*gateways, *agents):
            running.enter_context(collector)
        yield Hop(agents, broker, gateways, sink, tls)


class Peak(msgspec.Struct):
    """Largest sizes seen of one collector.

    Attributes:
        queued: bytes in its queues, as it counts them.
        on_disk: bytes of the files of its queues.
        memory: bytes of resident memory.
    """

    queued: float = 0
    on_disk: int = 0
    memory: float = 0

    def look(self, at: Collector) -> None:
        """Compare with the sizes of now."""
        telemetry = at.telemetry()
        self.queued = max(self.queued, telemetry.total(QUEUE_SIZE))
        with suppress(FileNotFoundError):  # a file was compacted meanwhile
            self.on_disk = max(self.on_disk, sum(file.stat().st_size for file in at.queue.glob("*")))
        self.memory = max(self.memory, telemetry.total("otelcol_process_memory_rss"))


def watch(collectors: dict[str, Collector], peaks: dict[str, Peak], until: float) -> None:
    """Look at the sizes of collectors once a second until a monotonic time."""
    while (left := until - time.monotonic()) > 0:
        for name, collector in collectors.items():
            peaks.setdefault(name, Peak()).look(collector)
        time.sleep(min(1.0, left))
