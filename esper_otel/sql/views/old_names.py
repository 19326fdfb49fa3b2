"""Esper-lite's column names, for queries that were written for its views; derived from the contract's aliases.

A map that esper-lite spreads over columns gets these columns; a field that it calls otherwise gets that name too.
Values are ours: shares of rewards are signed, milliseconds stay where the field holds them.
"""

from __future__ import annotations

from esper_otel.esper_lite.dialect.spelling import PLACEHOLDER, column, spelling_of
from esper_otel.esper_lite.dialect.table import POSITIONAL
from esper_otel.events import BatchCompleted, EpochCompleted, Event, PolicyUpdate
from esper_otel.sql.views.columns import Column, columns_of, map_value, quoted
from esper_otel.sql.views.view import View, entry, view_name

RENAMED: tuple[tuple[str, type[Event]], ...] = (
    ("epochs", EpochCompleted),
    ("ppo_updates", PolicyUpdate),
    ("batch_epochs", BatchCompleted),
)
"""esper-lite's names of views whose events were renamed."""


def renamed_views() -> list[View]:
    """The deprecated names, with the same rows and esper-lite's columns beside ours."""
    return [_renamed(old, cls) for old, cls in RENAMED]


def old_columns(cls: type[Event]) -> list[tuple[Column, str]]:
    """Columns with another name in esper-lite, each with its SQL."""
    spelling = spelling_of(cls)
    names = {each.name for each in columns_of(cls)}
    found: dict[str, tuple[Column, str]] = {}
    for field in columns_of(cls):
        alias = spelling.written.get(field.name, field.name)
        for name, type_, sql in _spread(cls, field, alias):
            last = name.rsplit(".", 1)[-1]
            if last not in names:
                found.setdefault(last, (Column(last, type_, f"esper-lite's name: {field.description}"), sql))
    return list(found.values())


def _spread(cls: type[Event], field: Column, alias: str) -> list[tuple[str, str, str]]:
    """Name, type and SQL of each column that esper-lite has for a field."""
    if PLACEHOLDER not in alias:
        scale = spelling_of(cls).scale_of(field.name)
        sql = quoted(field.name) if scale == 1.0 else f"{quoted(field.name)} / {scale!r}"
        return [(alias, field.type, sql)]
    value = map_value(cls, field.name)
    keys = spelling_of(cls).keys_of(field.name)
    if keys is None or not isinstance(value, str):
        return []
    return [(_flat(alias, key), value, entry(field.name, key)) for key in keys]


def _flat(alias: str, key: str) -> str:
    """The column in esper-lite's views, which name all of ``head_telemetry`` ``head_<head>_<figure>``."""
    if alias.startswith("head_telemetry."):
        return alias.replace("head_telemetry.", "head_").replace(PLACEHOLDER, key)
    return column(alias, key)


def with_old_columns(view: View, cls: type[Event]) -> View:
    """``view`` of the event ``cls`` with esper-lite's columns behind its own."""
    extra = old_columns(cls)
    if not extra:
        return view
    chosen = ", ".join(["*", *(f"{sql} AS {quoted(each.name)}" for each, sql in extra)])
    return View(
        view.name,
        view.description,
        (*view.columns, *(each for each, _ in extra)),
        f"SELECT {chosen} FROM ({view.sql})",
        view.tables,
        view.views,
        view.replaced_by,
        f"SELECT {chosen} FROM ({view.for_clickhouse})" if view.for_clickhouse else "",
    )


def _lists(cls: type[Event]) -> dict[str, tuple[Column, str, str]]:
    """Maps of ours that esper-lite has as lists in the order of their keys, each with its SQL, ClickHouse's last."""
    found = {}
    for field in columns_of(cls):
        if f"{cls.__name__}.{field.name}" in POSITIONAL:
            keys = spelling_of(cls).keys_of(field.name) or ()
            entries = ", ".join(entry(field.name, key) for key in keys)
            column = Column(field.name, f"{map_value(cls, field.name)}[]", f"{field.description} In the order {keys}.")
            name = quoted(field.name)
            found[field.name] = (
                column,
                f"CASE WHEN {name} IS NOT NULL THEN [{entries}] END",
                f"if(empty({name}), [], [{entries}])",
            )
    return found


def _renamed(old: str, cls: type[Event]) -> View:
    new, lists = view_name(cls), _lists(cls)
    columns = tuple(lists[column.name][0] if column.name in lists else column for column in columns_of(cls))
    replaced = ", ".join(f"{sql} AS {quoted(name)}" for name, (_, sql, _) in lists.items())
    replaced_there = ", ".join(f"{sql} AS {quoted(name)}" for name, (_, _, sql) in lists.items())
    base = View(
        old,
        f"Deprecated name of {new}.",
        columns,
        f"SELECT * REPLACE ({replaced}) FROM {quoted(new)}" if lists else f"SELECT * FROM {quoted(new)}",
        (),
        (new,),
        replaced_by=new,
        for_clickhouse=f"SELECT * REPLACE ({replaced_there}) FROM {quoted(new)}" if lists else "",
    )
    if cls is EpochCompleted:
        epoch = Column("epoch", "BIGINT", "esper-lite's name: Epoch within the episode, from 1.")
        base = View(
            old,
            base.description,
            (*base.columns, epoch),
            f"SELECT *, inner_epoch AS epoch FROM {quoted(new)}",
            (),
            (new,),
            replaced_by=new,
        )
    return with_old_columns(base, cls)
