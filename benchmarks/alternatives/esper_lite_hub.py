"""esper-lite's own hub with its file output, and with its W&B output beside it, from esper-lite's public source.

``ESPER_LITE_SRC`` names the ``src`` directory of a checkout; without one these ways are left out of the table.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.alternatives.payloads import Numbers, Payload
from benchmarks.alternatives.way import Record, UnavailableError

SOURCE: Final = "ESPER_LITE_SRC"
SETTLES_S: Final = 5.0
FIRST_OF_A_HEAD: Final = 7
"""Where in a decision's numbers those by head begin."""


class EsperLiteHub:
    """Its event and payload classes, ``hub.emit`` on the training thread, its workers behind."""

    def __init__(self, *, wandb: bool = False) -> None:
        """``wandb``: add its W&B output, offline."""
        self._wandb = wandb

    def open(self, directory: Path, endpoint: str) -> None:
        """Make the hub and add its outputs."""
        source = os.environ.get(SOURCE)
        if not source:
            raise UnavailableError(f"{SOURCE} names no src directory of esper-lite")
        if source not in sys.path:
            sys.path.append(source)
        logging.getLogger("esper").setLevel(logging.CRITICAL)
        try:
            nissa, self._leyline = (
                importlib.import_module("esper.nissa"),
                importlib.import_module("esper.leyline.telemetry"),
            )
        except ImportError as error:
            raise UnavailableError(f"esper-lite in {source}: {error}") from None
        self._hub: Any = nissa.NissaHub()
        self._hub.add_backend(nissa.FileOutput(directory / "events.jsonl"))
        if self._wandb:
            os.environ |= {"WANDB_DIR": str(directory), "WANDB_SILENT": "true", "WANDB_CONSOLE": "off"}
            backend = importlib.import_module("esper.nissa.wandb_backend").WandbBackend
            self._hub.add_backend(backend(mode="offline", log_code=False, log_system=False))

    def recorder(self, payload: Payload) -> Record:
        """Build the event with its payload, and emit it."""
        build, event, emit = self._builder(payload), self._leyline.TelemetryEvent, self._hub.emit
        kinds = self._leyline.TelemetryEventType
        is_decision = payload.name == "decision"
        kind = kinds.ANALYTICS_SNAPSHOT if is_decision else kinds.PPO_UPDATE_COMPLETED
        return lambda numbers: emit(event(event_type=kind, epoch=1, data=build(numbers)))

    def settle(self) -> None:
        """Wait until its queues are empty."""
        self._hub.flush(timeout=SETTLES_S)

    def lost(self) -> int:
        """Events dropped by its full queues, in the hub and in its file output."""
        return int(self._hub.get_health_snapshot()["dropped_events"])

    def close(self) -> None:
        """Close it."""
        self._hub.close()

    def _builder(self, payload: Payload) -> Callable[[Numbers], Any]:
        if payload.name != "decision":
            cls = self._leyline.PPOUpdatePayload
            names = [each.name for each in dataclasses.fields(cls) if "float" in str(each.type)]
            fixed = {"nan_grad_count": 0}
            keys = [name for name in names if "dict" not in str(cls.__dataclass_fields__[name].type)]
            keys = [key for key in keys if "tuple" not in str(cls.__dataclass_fields__[key].type)][: len(payload.names)]
            arguments = ", ".join(f"{key}=v[{at}]" for at, key in enumerate(keys))
            built: Callable[[Numbers], Any] = eval(f"lambda v: cls({arguments}, **fixed)", {"cls": cls, "fixed": fixed})
            return built
        snapshot, heads = self._leyline.AnalyticsSnapshotPayload, self._leyline.HeadTelemetry
        masked = {
            f"{head}_masked": False
            for head in ("op", "slot", "blueprint", "style", "tempo", "alpha_target", "alpha_speed", "alpha_curve")
        }
        texts = payload.texts

        def decision(v: Numbers) -> Any:
            return snapshot(
                kind="last_action",
                env_id=3,
                episode_idx=int(v[0]),
                action_confidence=v[2],
                decision_entropy=v[3],
                value_estimate=v[4],
                total_reward=v[5],
                alpha_target=v[6],
                tempo_idx=1,
                action_success=True,
                head_telemetry=heads(*v[FIRST_OF_A_HEAD:]),
                **texts,
                **masked,
            )

        return decision
