"""A whole relay with its GPU figures, scraped; only the driver's library is an imitation."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

import esper_otel
from esper_otel.events import PolicyUpdate
from esper_otel.relay.options import Options
from esper_otel.relay.service import Relay
from tests.otlp_receiver import OtlpReceiver, attributes
from tests.relay import processes
from tests.sensors.fake_nvml import FakeGpu, FakeLibrary, driver
from tests.waiting import PATIENCE_S, wait_for


def test_gpu_figures_and_joules_per_update_are_on_the_relays_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_PROMETHEUS_PORT", "0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    library = FakeLibrary([FakeGpu("GPU-aaaa")])
    gpu = library.gpus[0]
    started = time.monotonic()

    def burn() -> None:
        gpu.energy_mj = int(400_000 * (time.monotonic() - started))  # 400 W

    library.hooks["nvmlDeviceGetTotalEnergyConsumption"] = burn
    telemetry = esper_otel.configure(telemetry_dir=tmp_path, relay=False)
    with OtlpReceiver() as receiver, driver(library):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.http_endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        relay = Relay(Options(run=telemetry.run_dir, follow=True, linger_s=0))
        thread = threading.Thread(target=relay.run)
        thread.start()
        try:
            url = processes.announced_url(telemetry.run_dir)
            wait_for(lambda: "hw_energy_joules_total" in processes.scrape(url), "the first GPU figures")
            library.xids.append((0, 79))
            for _ in range(3):
                esper_otel.emit(PolicyUpdate(policy_loss=0.1))
                time.sleep(1.5)
            text = wait_for(
                lambda: (found := processes.scrape(url)) and "esper_gpu_energy_per_update_joules{" in found and found,
                "joules per update",
            )
            (xid,) = wait_for(
                lambda: [log for log in receiver.logs if log.event_name == "esper.xid_error"],
                "the XID error as log event",
            )
        finally:
            esper_otel.shutdown()
            relay.ending.at_once()
            thread.join(PATIENCE_S)

    samples = processes.samples(text)
    labels = (("device", "cuda:0"), ("hw_id", "GPU-aaaa"), ("hw_name", gpu.name), ("hw_type", "gpu"))
    assert samples[("hw_power_watts", labels)] == pytest.approx(612.345)
    (per_update,) = (v for (name, _), v in samples.items() if name == "esper_gpu_energy_per_update_joules")
    assert per_update == pytest.approx(600.0, rel=0.15)
    assert samples[("esper_gpu_xid_errors_total", (*labels, ("xid", "79")))] == 1
    assert samples[("esper_gpu_xid_errors_total", (*labels, ("xid", "48")))] == 0
    assert xid.severity_text.lower() in {"fatal", "critical"}
    assert attributes(xid)["esper.xid"] == 79
    assert not thread.is_alive()
