"""Definition of a view, and the views that follow from the contract: one per event type, one per map of each."""

from __future__ import annotations

from typing import Final

import msgspec

from esper_otel.events import (
    EVENT_TYPES,
    ActionDistribution,
    BatchCompleted,
    BatchStats,
    Decision,
    EpisodeOutcome,
    EpochCompleted,
    Event,
    InfrastructureSnapshot,
    MorphologyCausalLog,
    PhaseProfile,
    PolicyUpdate,
    RewardComputed,
    Rollback,
    SeedGateEvaluated,
    ShapleyComputed,
    TelemetryLoss,
    TopologyManifest,
    TrainingStarted,
)
from esper_otel.sql.views import clickhouse
from esper_otel.sql.views.columns import Column, columns_of, fields_of, literal, map_value, quoted
from esper_otel.sql.views.tables import Table, table_of


class View(msgspec.Struct, frozen=True):
    """One view.

    Attributes:
        name: its name in queries.
        description: meaning of a row.
        columns: its columns in order.
        sql: its definition over other views or, in ``{name}``, the table of that name.
        tables: tables that it reads itself.
        views: views that it reads.
        replaced_by: for an old name, the view to use instead.
        for_clickhouse: its definition for ClickHouse where that is another one; empty where ``sql`` serves both.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    sql: str
    tables: tuple[Table, ...] = ()
    views: tuple[str, ...] = ()
    replaced_by: str | None = None
    for_clickhouse: str = ""

    @property
    def clickhouse(self) -> str:
        """Its definition for ClickHouse."""
        return self.for_clickhouse or self.sql


_NAMES: Final[dict[type[Event], str]] = {
    ActionDistribution: "action_distributions",
    BatchCompleted: "tolaria_batches",
    BatchStats: "batch_stats",
    Decision: "decisions",
    EpisodeOutcome: "episode_outcomes",
    EpochCompleted: "tolaria_epochs",
    InfrastructureSnapshot: "infrastructure",
    MorphologyCausalLog: "morphology_causal_log",
    PhaseProfile: "phase_profiles",
    PolicyUpdate: "tamiyo_updates",
    RewardComputed: "rewards",
    Rollback: "rollbacks",
    SeedGateEvaluated: "gates",
    ShapleyComputed: "shapley_computed",
    TelemetryLoss: "losses",
    TopologyManifest: "topology_manifests",
    TrainingStarted: "training_starts",
}
"""Views that people know by another name than the event's."""

_IDENTITY: Final = (
    "env_id",
    "episode_idx",
    "inner_epoch",
    "batch",
    "batch_idx",
    "ppo_update_idx",
    "episodes_completed",
)
"""Fields that identify the subject of a map's row, repeated in its view if the event has them."""

_EXTRA: Final = ("device", "step", "epoch", "action_name")


def view_name(cls: type[Event]) -> str:
    """Name of the view of an event class."""
    return _NAMES.get(cls, cls.event_type.lower())


def event_views() -> list[View]:
    """One view per event type, in the contract's order."""
    return [_event_view(cls) for cls in EVENT_TYPES.values()]


def map_views() -> list[View]:
    """One view per event type and kind of key: the entries of its maps, one row per key."""
    found = []
    for cls in EVENT_TYPES.values():
        maps = [column for column in fields_of(cls) if column.key and map_value(cls, column.name) is not None]
        for key in dict.fromkeys(column.key for column in maps if column.key):
            found.append(_map_view(cls, key, [column for column in maps if column.key == key]))
    return found


def first_sentence(cls: type[msgspec.Struct]) -> str:
    """Description from the docstring of a class."""
    return (cls.__doc__ or "").strip().split("\n", 1)[0]


def _event_view(cls: type[Event]) -> View:
    table = table_of(cls)
    return View(view_name(cls), first_sentence(cls), columns_of(cls), f"SELECT * FROM {{{table.name}}}", (table,))


def _map_view(cls: type[Event], key: str, maps: list[Column]) -> View:
    base = view_name(cls)
    taken = {*(column.name for column in maps), key}
    shared = [column for column in columns_of(cls) if _is_shared(column.name) and column.name not in taken]
    entries = [pair for column in maps for pair in _entry_columns(cls, column)]
    names = [column.name for column in maps]
    keys = f"list_distinct(flatten([{', '.join(f'coalesce(map_keys({quoted(name)}), [])' for name in names)}]))"
    chosen = [
        *(quoted(column.name) for column in shared),
        f"key AS {quoted(key)}",
        *(f"{sql} AS {quoted(column.name)}" for column, sql in entries),
    ]
    return View(
        f"{base}_by_{key}",
        f"{first_sentence(cls).rstrip('.')}: one row per {key}.",
        (*shared, Column(key, "VARCHAR", f"The {key}."), *(column for column, _ in entries)),
        f"SELECT {', '.join(chosen)} FROM (SELECT *, unnest({keys}) AS key FROM {quoted(base)})",
        (),
        (base,),
        for_clickhouse=f"SELECT {', '.join(chosen)} FROM (SELECT *, {clickhouse.keys(names)} AS key"
        f" FROM {quoted(base)})",
    )


def _is_shared(name: str) -> bool:
    return name in {"run_id", "group_id", "timestamp", "event_id", "run_dir", *_IDENTITY, *_EXTRA}


def _entry_columns(cls: type[Event], column: Column) -> list[tuple[Column, str]]:
    """The columns of one entry of a map, each with its SQL; a struct's fields are columns of their own."""
    value = map_value(cls, column.name)
    entry = f"{quoted(column.name)}[key]"
    if isinstance(value, str):
        return [(Column(column.name, value, column.description), entry)]
    assert value is not None
    return [(inner, f"({entry}).{quoted(inner.name)}") for inner in fields_of(value)]


def entry(map_name: str, key: str) -> str:
    """SQL of one entry of a map."""
    return f"{quoted(map_name)}[{literal(key)}]"
