"""Real training runs whose OTLP endpoint misbehaves while they train and is well again afterwards."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.collector.certificates import write_certificates
from tests.faults.bad_endpoint import BEHAVIOURS, BadEndpoint, hang, reset, sending
from tests.faults.ledger import WHOLE, Figures, fault
from tests.faults.runs import (
    STEPS,
    Trainer,
    announced_url,
    delivered,
    ids_in,
    is_gone,
    relay_said,
    resident_mb,
    train,
    types_in,
)
from tests.otlp_receiver import OtlpReceiver
from tests.relay.processes import environment, events_by_type, manifest, scrape
from tests.tools import ROOT
from tests.waiting import PATIENCE_S, wait_for

Weights = Callable[..., str]
QUICK = {"429 with Retry-After", "200 with the login page of a network", "random bytes", "an answer without an end"}
RELAY_MB = 300.0
"""A relay of a short run has 100 MB."""

HOLDS = "training is as ever; the scrape goes on; afterwards every event arrives once; said once for each signal"


def export_to(port: int, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_TIMEOUT": "10", **more}


def judge(trainer: Trainer, endpoint: BadEndpoint, receiver: OtlpReceiver, weights: Weights, figures: Figures) -> None:
    """See the run through with the fault, then without; every event arrived once."""
    url = announced_url(trainer.run)
    result = trainer.finish()
    assert weights(STEPS) == result["weights"]
    assert result["shutdown_s"] < 8.0  # waiting for the endpoint would last until it is well, which is later
    wait_for(lambda: "wait for the endpoint" in relay_said(trainer.run), "the message")
    wait_for(lambda: events_by_type(scrape(url)) == types_in(trainer.run), "the log's counts at the scrape")
    assert [] == receiver.logs
    assert resident_mb(manifest(trainer.run)["relay"]["pid"]) < RELAY_MB
    endpoint.heal()
    healed = time.monotonic()
    wait_for(lambda: {*ids_in(trainer.run)} == {*delivered(receiver)}, "the delivery of every event")
    figures.add(recovered_s=time.monotonic() - healed)
    wait_for(lambda: is_gone(trainer.run), "the end of the relay")
    assert {1} == {*delivered(receiver).values()}, relay_said(trainer.run)
    waits = Counter(re.findall(r"(\w+) wait for the endpoint", relay_said(trainer.run)))
    assert {1} == {*waits.values()}, relay_said(trainer.run)
    assert "Traceback" not in relay_said(trainer.run)
    rounds = {span.span_id for span in receiver.spans if span.name == "simic.round"}
    assert types_in(trainer.run)["TOLARIA_BATCH_COMPLETED"] == len(rounds)


def http_port(receiver: OtlpReceiver) -> int:
    return int(receiver.http_endpoint.rsplit(":", 1)[1])


def grpc_port(receiver: OtlpReceiver) -> int:
    return int(receiver.grpc_endpoint.rsplit(":", 1)[1])


def marks(protocol: str, name: str) -> list[pytest.MarkDecorator]:
    """A row of the table; a few of them are in the quick selection."""
    row = fault(f"OTLP endpoint over {protocol}: {name}", holds=HOLDS)
    return [row] if name in QUICK else [row, pytest.mark.whole]


CASES = [("down: connections refused", None), *BEHAVIOURS.items()]


@pytest.mark.parametrize(
    "behaviour",
    [pytest.param(behaviour, marks=marks("HTTP", name), id=name) for name, behaviour in CASES],
)
def test_whatever_an_http_endpoint_answers_everything_arrives_once_it_is_well(
    tmp_path: Path, silent_weights: Weights, figures: Figures, behaviour: Callable[..., None] | None
) -> None:
    with (
        OtlpReceiver() as receiver,
        BadEndpoint(http_port(receiver), behaviour) as endpoint,
        train(tmp_path, "--relay", "--linger", "1", **export_to(endpoint.port)) as trainer,
    ):
        judge(trainer, endpoint, receiver, silent_weights, figures)


GRPC = {
    "down: connections refused": None,
    "hanging": hang,
    "reset": reset,
    "random bytes": sending(lambda: bytes(range(256)) * 8),
}


@pytest.mark.parametrize(
    "behaviour",
    [pytest.param(behaviour, marks=marks("gRPC", name), id=name) for name, behaviour in GRPC.items()],
)
def test_whatever_a_grpc_endpoint_answers_everything_arrives_once_it_is_well(
    tmp_path: Path, silent_weights: Weights, figures: Figures, behaviour: Callable[..., None] | None
) -> None:
    with OtlpReceiver() as receiver, BadEndpoint(grpc_port(receiver), behaviour) as endpoint:
        env = export_to(endpoint.port, OTEL_EXPORTER_OTLP_PROTOCOL="grpc", OTEL_EXPORTER_OTLP_INSECURE="true")
        with train(tmp_path, "--relay", "--linger", "1", **env) as trainer:
            judge(trainer, endpoint, receiver, silent_weights, figures)


@fault(
    "OTLP endpoint with a certificate that nobody vouches for, later with the right one",
    holds=HOLDS,
)
def test_a_wrong_certificate_is_waited_out(tmp_path: Path, silent_weights: Weights, figures: Figures) -> None:
    wrong, right = (server_side(write_certificates(tmp_path / name)) for name in ("wrong", "right"))
    with OtlpReceiver() as receiver, BadEndpoint(http_port(receiver), hang, tls=wrong) as endpoint:
        env = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{endpoint.port}",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(tmp_path / "right" / "ca.crt"),
            "REQUESTS_CA_BUNDLE": str(tmp_path / "wrong" / "tls.crt"),  # set on many machines; it must not win
        }
        endpoint_heal = endpoint.heal
        endpoint.heal = lambda tls=None: endpoint_heal(right)  # type: ignore[method-assign]  # healing brings the right one
        with train(tmp_path, "--relay", "--linger", "1", **env) as trainer:
            judge(trainer, endpoint, receiver, silent_weights, figures)
            assert "certificate" in relay_said(trainer.run).lower()


def server_side(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


@fault(
    "OTLP endpoint that takes a batch and says that it dropped an item of it (partial success)",
    holds="training is as ever; nothing is sent again; what was dropped is counted",
)
def test_items_that_an_endpoint_drops_are_counted_and_not_sent_again(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    with OtlpReceiver() as receiver:
        receiver.mode = "partial"
        with train(tmp_path, "--relay", "--linger", "300", **export_to(http_port(receiver))) as trainer:
            url = announced_url(trainer.run)
            assert silent_weights(STEPS) == trainer.finish()["weights"]
            wait_for(lambda: {*ids_in(trainer.run)} == {*delivered(receiver)}, "the delivery of every event")
            requests = sum(signal == "logs" for signal, _ in receiver.requests)
            wait_for(lambda: f'esper_relay_refused_total{{signal="logs"}} {requests}' in scrape(url), "the count")
        assert {1} == {*delivered(receiver).values()}
        figures.add(lost=requests)


RESOLVER = """
import socket, struct, sys, time
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    asked, client = server.recvfrom(512)
    time.sleep(float(sys.argv[2]))
    end = asked.index(b"\\0", 12) + 5
    is_ipv4 = asked[end - 4 : end - 2] == b"\\0\\1"
    answer = b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4\\x7f\\0\\0\\1" if is_ipv4 else b""
    head = asked[:2] + b"\\x81\\x80\\0\\1" + struct.pack(">H", is_ipv4) + b"\\0\\0\\0\\0"
    server.sendto(head + asked[12:end] + answer, client)
"""
NAME_SERVER = "127.9.53.1"
NAME_SERVER_DELAY_S = 1.5 if WHOLE else 0.2


@fault(
    "slow DNS: each answer takes 1.5 s (a real resolver of our own, in a mount namespace)",
    holds="training is as ever; the scrape goes on; everything is delivered once",
)
def test_a_slow_name_server_holds_up_nothing_but_the_delivery(
    tmp_path: Path, silent_weights: Weights, figures: Figures
) -> None:
    configuration = tmp_path / "resolv.conf"
    configuration.write_text(f"nameserver {NAME_SERVER}\noptions timeout:5 attempts:2\n")
    mount = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(configuration)]
    if subprocess.run([*mount, "true"], capture_output=True, check=False).returncode:
        pytest.skip("mounting is not permitted here, so that no other name server can be set")
    command = [sys.executable, "-c", RESOLVER, NAME_SERVER, str(NAME_SERVER_DELAY_S)]
    with (
        OtlpReceiver() as receiver,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as resolver,
        train(tmp_path) as trainer,
    ):
        assert resolver.stdout is not None
        try:
            if resolver.stdout.readline() != "ready\n":
                pytest.skip(f"no name server can listen on {NAME_SERVER}:53")
            assert silent_weights(STEPS) == trainer.finish()["weights"]
            endpoint = f"http://collector.example:{http_port(receiver)}"
            env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_EXPORTER_OTLP_TIMEOUT="10")
            started = time.monotonic()
            relay = [*mount, sys.executable, "-m", "esper_otel.relay", str(trainer.run), "--linger", "0"]
            done = subprocess.run(
                relay, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False
            )
        finally:
            resolver.kill()
        assert 0 == done.returncode, done.stderr
        assert time.monotonic() - started > NAME_SERVER_DELAY_S
        assert dict.fromkeys(ids_in(trainer.run), 1) == delivered(receiver)
        figures.add(recovered_s=time.monotonic() - started)
