"""Prints where each field of the plan's Appendices C and D.4 to D.6 is, what a run put there, and what tests it.

    python -m tests.trainer.field_table RUN [RUN ...] [--markdown]

The event and the field are found in the contract, by name or by alias. A field that is absent or never changes in the
runs is marked and needs a reason here; without one the exit status is 1.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from esper_otel.events import EVENT_TYPES
from esper_otel.log.envelope import Record
from esper_otel.log.reader import LogReader
from esper_otel.signals.registry import declared_fields

ROOT: Final = Path(__file__).resolve().parents[2]

PLAN: Final[dict[str, tuple[str, ...]]] = {
    "C.1": ("pre_clip_grad_norm", "ppo_update_idx"),
    "C.2": ("approx_kl_max", "kl_reverse", "trust_region_violations"),
    "C.3": (
        *("value_prediction_error_mean", "value_prediction_error_std", "td_error_mean"),
        *("return_mean", "return_std", "value_target_correlation"),
    ),
    "C.4": ("head_{name}_kl", "head_{name}_clip_fraction", "head_{name}_active_ratio", "causal_mask_coverage"),
    "C.5": ("policy_determinism", "action_diversity", "dominant_action_ratio", "op_distribution"),
    "C.6": ("log_prob_underflow_count", "numerical_stability_score", "grad_clip_fraction"),
    "C.7": ("valid_sample_ratio", "policy_update_magnitude", "gradient_utilization"),
    "D.4": ("grad_norm_per_layer", "grad_zero_fraction", "grad_norm_ratio", "grad_nan_layers"),
    "D.5": ("loss_scale_updates", "amp_overflow_count", "grad_scaler_state"),
    "D.6": ("host_train_loss", "host_grad_norm_pre_clip", "host_lr"),
}
"""Names of the plan by section."""

TESTED_AS: Final = {
    "grad_norm_per_layer": "norm_per_layer",
    "grad_zero_fraction": "zero_fraction",
    "grad_norm_ratio": "norm_ratio",
    "grad_nan_layers": "nan_layers",
    "policy_update_magnitude": "moved",
    "host_train_loss": "train_loss",
    "host_grad_norm_pre_clip": "host_grad_norm",
}
"""What a field is called where it is computed, if otherwise."""

FIRST: Final = ("test_host_numbers", "test_diagnostics", "test_gradients", "test_policy")
"""Where formulas are tested, in the order of search; other files name fields too."""

OWN_PRODUCER: Final = ("TAMIYO_POLICY_UPDATE", "TOLARIA_EPOCH_COMPLETED")
"""Events that carry the fields as measurements; others repeat one of them where something went wrong."""

REASONS: Final = {
    "log_prob_underflow_count": "0 is right: no action under -50 nats was drawn; a test makes some",
    "grad_nan_layers": "empty is right: no gradient was NaN; a host's is in the chaos recipe, the policy's in the skip",
    "host_lr": "constant by design: Adam without a schedule; the chaos recipe sets it to 0",
    "loss_scale_updates": "needs --amp; without overflow every episode doubles the scale equally often",
    "amp_overflow_count": "0 is right unless a loss overflows; a test makes it happen",
    "grad_scaler_state": "needs --amp; without overflow every round grows",
}
"""Why a field may be absent or constant in a run."""


def carriers(plan_name: str) -> Iterator[tuple[str, str]]:
    """Events and fields that carry a field of the plan."""
    alias = plan_name.replace("{name}", "{key}")
    for event_type in OWN_PRODUCER:
        for name, (_, declaration) in declared_fields(EVENT_TYPES[event_type]).items():
            if plan_name == name or alias in declaration.aliases:
                yield event_type, name


def values_of(runs: list[str]) -> dict[tuple[str, str], list[Any]]:
    """Every value of every field in the logs, by event type and field, in order."""
    found: dict[tuple[str, str], list[Any]] = {}
    for run in runs:
        with LogReader(run, follow=False) as reader:
            while batch := reader.read(1000):
                for item in batch:
                    if isinstance(item, Record) and item.event_type in OWN_PRODUCER:
                        for name, value in msgspec.json.decode(item.data or b"{}").items():
                            found.setdefault((item.event_type, name), []).append(value)
    return found


def verdict(name: str, values: list[Any]) -> tuple[str, bool]:
    """What is to be said of a field's values, and whether it is fine."""
    if values and len({json.dumps(value, sort_keys=True) for value in values}) > 1:
        return "", True
    state = "constant" if values else "absent"
    reason = REASONS.get(name)
    return f"{state}: {reason or 'NO REASON'}", reason is not None


def formula_test(name: str) -> str | None:
    """The first test of the trainer that names the field, ``file::function``."""
    wanted = TESTED_AS.get(name, name)
    for path in (ROOT / "tests" / "trainer" / f"{stem}.py" for stem in FIRST):
        for node in ast.parse(path.read_text()).body:
            if _names(node, wanted):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    return f"{path.stem}::{node.name}"
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "EXPECTED":
                    return f"{path.stem}::test_the_diagnostic_equals_numpys[{wanted}]"
    return None


def _names(node: ast.AST, wanted: str) -> bool:
    return any(
        (isinstance(part, ast.Constant) and part.value == wanted)
        or (isinstance(part, ast.Attribute) and part.attr == wanted)
        or (isinstance(part, ast.Name) and part.id == wanted)
        for part in ast.walk(node)
    )


def _shown(values: list[Any]) -> str:
    if not values:
        return "—"
    value = next((value for value in reversed(values) if value not in (None, [], {})), values[-1])
    text = json.dumps(value) if not isinstance(value, float) else f"{value:.6g}"
    if isinstance(value, dict):
        first = next(iter(value.items()))
        shown = f"{first[1]:.4g}" if isinstance(first[1], float) else first[1]
        text = f"{{{first[0]}: {shown}, …}} ({len(value)})"
    return text if len(text) <= 60 else text[:59] + "…"


def rows(runs: list[str]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Cells of every line, and whether it is fine."""
    found = values_of(runs)
    for section, names in PLAN.items():
        for plan_name in names:
            for event_type, field in carriers(plan_name):
                values = found.get((event_type, field), [])
                note, is_fine = verdict(field, values)
                test = formula_test(field)
                cells = (section, plan_name, event_type, field, _shown(values), test or "NONE", note)
                yield cells, is_fine and test is not None


def main() -> int:
    """Print the table; 1 when a field has no value, no reason or no test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directory or log")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    given = parser.parse_args()
    titles = ("plan", "field of the plan", "event", "field", "a value of the run", "test of its formula", "remark")
    lines = list(rows(given.runs))
    if given.markdown:
        print("| " + " | ".join(titles) + " |\n" + "|---" * len(titles) + "|")
        for cells, _ in lines:
            print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    else:
        table = Table(title="Fields of Appendices C and D.4 to D.6")
        for title in titles:
            table.add_column(title, overflow="fold")
        for cells, is_fine in lines:
            table.add_row(*map(escape, cells), style=None if is_fine else "red")
        Console(width=240).print(table)
    return 0 if all(is_fine for _, is_fine in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
