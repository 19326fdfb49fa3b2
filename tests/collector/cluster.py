"""Two agents, two gateways and a backend on loopback, with TLS and tokens, and what is sent through them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import requests
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.collector.certificates import write_certificates
from tests.collector.collectors import Collector
from tests.otlp_receiver import OtlpReceiver
from tests.waiting import PATIENCE_S, wait_for

_SIGNALS: Final = ("metrics", "traces", "logs")

RELAY_TOKEN: Final = "what-relays-say"
GATEWAY_TOKEN: Final = "what-agents-say"

QUICK_RETRY: Final = {"initial_interval": "200ms", "max_interval": "500ms"}
"""Tests do not wait half a minute for the next attempt."""

NO_KUBERNETES: Final = {
    "service": {"pipelines": {signal: {"processors": ["memory_limiter"]} for signal in ("traces", "metrics", "logs")}}
}
"""What is left out of the agent where there is no Kubernetes to ask."""


class Cluster(msgspec.Struct, frozen=True):
    """Programs of the test; the backend stands for Mimir, Tempo and Loki."""

    agents: list[Collector]
    gateways: list[Collector]
    backend: OtlpReceiver
    tls: Path
    open_clients: ExitStack

    def client(self, agent: int, token: str = RELAY_TOKEN) -> Client:
        """Somebody who sends to an agent; closed with the cluster at the latest."""
        client = Client(self.agents[agent].url("HTTP", "https"), str(self.tls / "ca.crt"), token)
        self.open_clients.callback(client.close)
        return client

    def of_gateways(self, name: str, **labels: str) -> float:
        """A value of the gateways' own telemetry, summed."""
        return sum(gateway.telemetry().total(name, **labels) for gateway in self.gateways)


@contextmanager
def cluster(
    directory: Path,
    *,
    reached_by: Callable[[int], int] = int,
    backend_reached_by: Callable[[int], int] = int,
    agent_overlay: dict[str, Any] | None = None,
    gateway_overlay: dict[str, Any] | None = None,
    agent_token: str = GATEWAY_TOKEN,
    **gateway_variables: str,
) -> Iterator[Cluster]:
    """Start everything; agent n sends metrics and logs to gateway n, and chooses a gateway for each trace.

    Args:
        directory: for certificates, queues and logs.
        reached_by: the port at which agents reach a gateway that listens on a port.
        backend_reached_by: the same for gateways and the backend.
        agent_overlay: merged over the configuration of the agents.
        gateway_overlay: merged over the configuration of the gateways.
        agent_token: what the agents say to the gateways.
        gateway_variables: environment of the gateways.
    """
    tls = write_certificates(directory / "tls")
    for name, token in (("relay", RELAY_TOKEN), ("gateway", GATEWAY_TOKEN), ("agent", agent_token)):
        (directory / f"{name}.token").write_text(token)
    common = {"COLLECTOR_TLS_DIR": str(tls), "K8S_NODE_NAME": "node"}
    with ExitStack() as running:
        backend = running.enter_context(OtlpReceiver())
        url = f"http://127.0.0.1:{backend_reached_by(int(backend.http_endpoint.rsplit(':', 1)[1]))}"
        variables = {
            **common,
            "COLLECTOR_GATEWAY_TOKEN_FILE": str(directory / "gateway.token"),
            **{f"COLLECTOR_{name}_URL": url for name in ("METRICS", "TRACES", "LOGS")},
            "COLLECTOR_DECISION_WAIT_AFTER_ROOT": "1s",
            "COLLECTOR_HEALTHY_PERCENT": "0",
            **gateway_variables,
        }
        overlay = {"exporters": {f"otlp_http/{name}": {"retry_on_failure": QUICK_RETRY} for name in _SIGNALS}}
        gateways = [
            running.enter_context(
                Collector("gateway", directory / f"gateway{n}", gateway_overlay or overlay, **variables)
            )
            for n in range(2)
        ]
        ports = [reached_by(gateway.ports["GRPC"]) for gateway in gateways]
        agents = [
            running.enter_context(
                Collector(
                    "agent",
                    directory / f"agent{n}",
                    _agent_overlay(ports) | (agent_overlay or {}),
                    **common,
                    COLLECTOR_RELAY_TOKEN_FILE=str(directory / "relay.token"),
                    COLLECTOR_GATEWAY_TOKEN_FILE=str(directory / "agent.token"),
                    COLLECTOR_GATEWAY_HOST="127.0.0.1",
                    COLLECTOR_GATEWAY_PORT=str(ports[n]),
                )
            )
            for n in range(2)
        ]
        yield Cluster(agents, gateways, backend, tls, running.enter_context(ExitStack()))


def _agent_overlay(gateway_ports: list[int]) -> dict[str, Any]:
    hostnames = [f"127.0.0.1:{port}" for port in gateway_ports]
    return {
        **NO_KUBERNETES,
        "exporters": {
            "load_balancing": {
                "retry_on_failure": QUICK_RETRY,
                # There is no DNS on loopback that names two gateways.
                "resolver": {"dns": None, "static": {"hostnames": hostnames}},
                "protocol": {"otlp": {"timeout": "1s"}},
            },
            "otlp_grpc": {"timeout": "1s", "retry_on_failure": QUICK_RETRY},
        },
    }


class Client:
    """Sends as a relay does: what was not taken is sent again until it is."""

    def __init__(self, url: str, ca: str, token: str) -> None:
        """Send to the OTLP endpoint ``url``, whose certificate ``ca`` vouches for."""
        self._url = url
        self._session = requests.Session()
        self._session.verify = ca
        self._session.trust_env = False
        self._session.headers.update({"Authorization": f"Bearer {token}", "Content-Type": "application/x-protobuf"})

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def attempt(self, signal: str, request: Any) -> int:
        """Send once; the HTTP status, 0 where there was no answer."""
        try:
            answer = self._session.post(
                f"{self._url}/v1/{signal}", data=request.SerializeToString(), timeout=PATIENCE_S
            )
        except requests.ConnectionError:
            return 0
        return answer.status_code

    def send(self, signal: str, request: Any) -> None:
        """Send until it is taken."""
        wait_for(lambda: self.attempt(signal, request) == requests.codes.ok, f"the taking of {signal}", every_s=0.1)


def round_spans(
    number: int, names: list[str], *, root: bool, anomalous: bool = True, error: bool = False, root_name: str = "root{}"
) -> Any:
    """Spans of round ``number``; with ``root`` its root span, which says whether the round was anomalous."""
    request = ExportTraceServiceRequest()
    spans = _resource(request.resource_spans.add()).scope_spans.add().spans
    trace_id = (number + 1).to_bytes(4, "big") * 4
    root_id = b"rootroot"
    for name in names:
        span = spans.add(name=name, trace_id=trace_id, span_id=name.encode().rjust(8)[-8:], parent_span_id=root_id)
        span.start_time_unix_nano, span.end_time_unix_nano = time.time_ns() - 1, time.time_ns()
        if error:
            span.status.code = Status.STATUS_CODE_ERROR
    if root:
        span = spans.add(name=root_name.format(number), trace_id=trace_id, span_id=root_id)
        span.attributes.add(key="esper.round.anomalous").value.bool_value = anomalous
    return request


def log_record(name: str) -> Any:
    """One log record."""
    request = ExportLogsServiceRequest()
    record = _resource(request.resource_logs.add()).scope_logs.add().log_records.add(event_name=name)
    record.time_unix_nano, record.body.string_value = time.time_ns(), name
    return request


def metric_sample(number: int, instance: str = "run") -> Any:
    """Sample ``number`` of a counter of the run ``instance``."""
    request = ExportMetricsServiceRequest()
    metric = _resource(request.resource_metrics.add(), instance).scope_metrics.add().metrics.add(name="test.count")
    metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 2
    point = metric.sum.data_points.add(as_int=number, start_time_unix_nano=1, time_unix_nano=time.time_ns())
    assert point.as_int == number
    return request


def _resource(holder: Any, instance: str = "run") -> Any:
    for key, value in (("service.name", "esper"), ("service.instance.id", instance)):
        holder.resource.attributes.add(key=key).value.string_value = value
    return holder


def arrived(backend: OtlpReceiver) -> tuple[set[str], set[str], list[int]]:
    """Names of the spans and of the log records, and the samples in order, that the backend has."""
    points = [point.as_int for metric in backend.metrics for point in metric.sum.data_points]
    return {span.name for span in backend.spans}, {record.event_name for record in backend.logs}, points


class Stream:
    """One of each signal every few milliseconds, each to both agents in turn, from a thread of its own.

    Attributes:
        sent: how many rounds, log records and samples each were taken so far.
    """

    PAUSE_S: Final = 0.02

    def __init__(self, through: Cluster, *, signals: Sequence[str] = _SIGNALS) -> None:
        """Send ``signals`` through both agents, once started."""
        self.sent = 0
        self.error: BaseException | None = None
        self._signals = signals
        self._clients = [through.client(n) for n in range(2)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Stream:
        """Start sending."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sending, after what is being sent was taken."""
        self._stop.set()
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self.PAUSE_S):
                number, who = self.sent, self.sent % 2
                items = {
                    "traces": round_spans(number, [f"child{number}"], root=True),
                    "logs": log_record(f"log{number}"),
                    "metrics": metric_sample(number, f"run{who}"),
                }
                for signal in self._signals:
                    self._clients[who].send(signal, items[signal])
                self.sent += 1
        except Exception as error:  # told to the test, which is another thread
            self.error = error

    def expected(self) -> tuple[set[str], set[str], set[int]]:
        """Names of all spans and log records and all samples that were taken."""
        numbers = range(self.sent)
        spans = {f"{kind}{n}" for n in numbers for kind in ("root", "child")}
        return spans, {f"log{n}" for n in numbers}, set(numbers)
