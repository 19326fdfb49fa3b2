"""Infrastructure: device time by phase, the compiler, mixed precision, and the sensors themselves."""

from __future__ import annotations

from typing import Final

from grafana.layout.board import Row
from grafana.panels.kinds import stat_panel, timeseries_panel
from grafana.panels.states import state_timeline_panel
from grafana.panels.tables import events_table_panel
from grafana.queries.logql import events
from grafana.queries.promql import increase, last, mean, total

_ON_CPU: Final = "steps are timed by CUDA events, where hosts train on a GPU"
_NO_SNAPSHOTS: Final = "infrastructure snapshots come every few rounds of the trainer"
_NO_AMP: Final = "the run does not train in mixed precision with a loss scale (--amp on CUDA)"

DEVICE_TIME: Final = Row(
    "Where does device time go?",
    (
        timeseries_panel(
            "step_phases",
            "Time of a pass by phase",
            "Forward and backward take most of it.",
            ("{{device}} {{phase}}", mean("tolaria.step_phase.duration", "device", "phase")),
            width=12,
            empty=_ON_CPU,
        ),
        timeseries_panel(
            "pass_means",
            "Mean time of a pass, by snapshot",
            "Flat; the transfer of data is next to nothing.",
            ("{{device}} data transfer", last("tolaria.data_transfer.mean_duration", "device")),
            ("{{device}} forward", last("tolaria.forward.mean_duration", "device")),
            ("{{device}} backward", last("tolaria.backward.mean_duration", "device")),
            ("{{device}} optimizer step", last("tolaria.optimizer_step.mean_duration", "device")),
            width=12,
            empty=_NO_SNAPSHOTS,
        ),
    ),
    is_open=False,
)

SOFTWARE: Final = Row(
    "Do compiler and mixed precision behave?",
    (
        timeseries_panel(
            "compiler",
            "torch.compile, since the run began",
            "Flat after the first rounds: growing recompilations or guard failures mean changing shapes.",
            ("graphs", total("tolaria.compile.graphs")),
            ("graph breaks", total("tolaria.compile.graph_breaks")),
            ("recompilations", total("tolaria.compile.recompilations")),
            ("guard failures", total("tolaria.compile.guard_failures")),
            ("cache hits", total("tolaria.compile.cache_hits")),
            ("cache misses", total("tolaria.compile.cache_misses")),
            ("time compiling", total("tolaria.compile.time")),
            unit="none",
            second={"time compiling": "s"},
            empty=_NO_SNAPSHOTS,
        ),
        timeseries_panel(
            "loss_scale",
            "Loss scale, and steps skipped by it",
            "Grows or is stable; overflows are rare.",
            ("{{device}} scale", last("tolaria.amp.loss_scale", "device")),
            ("{{device}} overflows", increase("tolaria.amp.overflows", "device")),
            ("{{device}} changes", increase("tolaria.amp.scale_changes", "device")),
            second={".* (overflows|changes)": "none"},
            width=8,
            limits=None,
            unit="short",
            empty=_NO_AMP,
        ),
        state_timeline_panel(
            "amp_state",
            "State of the loss scale",
            "Growing or stable, seldom decaying.",
            (
                "{{scaler_state}}",
                last("tolaria.amp.state", "scaler_state", agg="max"),
            ),
            states={0: ("no", "transparent"), 1: ("yes", "blue")},
            width=8,
            empty=_NO_AMP,
        ),
        events_table_panel(
            "compiler_log",
            "Graph breaks and recompilations, newest first",
            "None after the first rounds. Each row gives place and reason.",
            events("TOLARIA_GRAPH_BREAK", "TOLARIA_RECOMPILATION"),
            {
                "esper_event_type": "event",
                "tolaria_location": "where",
                "tolaria_function": "function",
                "tolaria_reason": "why",
                "tolaria_guard": "guard",
                "tolaria_count": "times",
                "tolaria_compile_time_s": "compile time, s",
            },
            width=24,
            height=6,
            empty="nothing was recompiled in this time",
        ),
    ),
    is_open=False,
)

SENSORS: Final = Row(
    "Can these figures be trusted?",
    (
        stat_panel(
            "snapshot_age",
            "Age",
            "A few seconds; it grows while the driver hangs.",
            ("age", last("esper.nvml.snapshot_age", agg="max")),
            height=8,
            empty="there is no GPU",
        ),
        timeseries_panel(
            "faults",
            "Queries that the driver did not answer, since the run began",
            "Constant: not every GPU supports every call. no_library: a machine without a GPU.",
            ("{{call}}: {{reason}}", total("esper.nvml.faults", "call", "reason")),
            width=20,
            unit="none",
            empty="the driver answered every query",
        ),
    ),
)
