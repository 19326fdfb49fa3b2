"""One real Kafka broker on loopback in KRaft mode: TLS and SCRAM for collectors, a plain port for its own tools."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.collector.collectors import free_ports
from tests.tools import tool
from tests.waiting import PATIENCE_S, wait_for

CLUSTER: Final = "MkU3OEVBNTcwNTJENDM2Qk"
PARTITIONS: Final = 6
JVM: Final = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{CONTROLLER}
listeners=COLLECTORS://127.0.0.1:{COLLECTORS},TOOLS://127.0.0.1:{TOOLS},CONTROLLER://127.0.0.1:{CONTROLLER}
advertised.listeners=COLLECTORS://127.0.0.1:{COLLECTORS},TOOLS://127.0.0.1:{TOOLS}
listener.security.protocol.map=COLLECTORS:SASL_SSL,TOOLS:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=TOOLS
controller.listener.names=CONTROLLER
log.dirs={directory}/data
ssl.keystore.type=PEM
ssl.keystore.location={directory}/server.pem
sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.collectors.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=3
group.initial.rebalance.delay.ms=0
"""


class Broker:
    """A broker; it may be killed and started again, on the same ports and the same data.

    Attributes:
        address: of the port for collectors.
    """

    def __init__(self, directory: Path, tls: Path, users: Mapping[str, str], topics: Sequence[str]) -> None:
        """A broker with the certificate in ``tls``, users with their passwords, and topics; it is not started yet."""
        self._java = tool("kafka-java")
        directory.mkdir()
        self._directory = directory
        self._topics = topics
        names = ("COLLECTORS", "TOOLS", "CONTROLLER")
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.address = f"127.0.0.1:{self._ports['COLLECTORS']}"
        self._properties = directory / "server.properties"
        self._properties.write_text(PROPERTIES.format(directory=directory, **self._ports))
        (directory / "server.pem").write_bytes((tls / "tls.key").read_bytes() + (tls / "tls.crt").read_bytes())
        credentials = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in users.items()]
        known = [argument for each in credentials for argument in ("--add-scram", each)]
        arguments = ["format", "--standalone", "-t", CLUSTER, "-c", str(self._properties), *known]
        self._tool("kafka.tools.StorageTool", *arguments)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start for the first time, and make the topics."""
        self.start()
        server = f"127.0.0.1:{self._ports['TOOLS']}"
        for topic in self._topics:
            made = ["--create", "--topic", topic, "--partitions", str(PARTITIONS)]
            self._tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", server, *made)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Kill it if it runs."""
        self.kill()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._directory / "log").open("ab") as log:
            command = [self._java, *JVM, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._listens, "the start of the broker", every_s=0.1)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE_S)
            self._process = None

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the broker ended by itself: {(self._directory / 'log').read_text()[-3000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._ports["COLLECTORS"])) == 0

    def _tool(self, main: str, *arguments: str) -> None:
        command = [self._java, *JVM, main, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert done.returncode == 0, done.stdout + done.stderr
