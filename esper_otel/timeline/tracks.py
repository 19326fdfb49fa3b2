"""The tracks: queries over the views, each of which gives slices, counters or instants of one kind of track.

The log tells when a round, an epoch or a policy update ended or began and how long it took. Of the phases of a step it
has the durations of all passes between two reports, not when each of them was: they are drawn as one slice a phase and
report, as long as all passes together, at its end.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Track(NamedTuple):
    """One kind of track.

    Attributes:
        views: views that the query reads.
        sql: query with the columns ``rank``, ``track``, ``name``, ``begins`` and ``ends`` (Unix time, s), and ``args``
            (a struct or NULL).
    """

    views: tuple[str, ...]
    sql: str


_AT: Final = "epoch(timestamp)"
_ARM: Final = "CASE WHEN group_id = 'default' THEN '' ELSE ' ' || group_id END"
_MODEL: Final = "coalesce(' of ' || model, '')"

ROUNDS: Final = Track(
    ("tolaria_batches",),
    f"SELECT rank, 'rounds' || {_ARM} AS track, 'round ' || batch_idx AS name, coalesce({_AT} - batch_time_ms / 1000,"
    f" lag({_AT}) OVER w, {_AT}) AS begins, {_AT} AS ends, {{episodes_completed: episodes_completed, avg_accuracy:"
    " avg_accuracy, avg_reward: avg_reward, rolling_accuracy: rolling_accuracy} AS args FROM tolaria_batches"
    " WHERE batch_idx IS NOT NULL WINDOW w AS (PARTITION BY rank, group_id ORDER BY timestamp)",
)

POLICY_UPDATES: Final = Track(
    ("tamiyo_updates",),
    f"SELECT rank, 'policy updates' || {_ARM} AS track, concat('update', ' ' || ppo_update_idx, ' of round ' || batch)"
    f" AS name, {_AT} AS begins, {_AT} + coalesce(update_time_ms, 0) / 1000 AS ends, {{policy_loss: policy_loss,"
    " value_loss: value_loss, entropy: entropy, kl_divergence: kl_divergence, pre_clip_grad_norm: pre_clip_grad_norm}"
    " AS args FROM tamiyo_updates",
)

STEPS: Final = Track(
    ("tolaria_training_update",),
    f"SELECT rank, concat('updates', {_MODEL}, coalesce(' by ' || optimizer, '')) AS track, 'update ' || \"update\" AS"
    f' name, CASE WHEN "update" = lag("update") OVER w + 1 THEN lag({_AT}) OVER w ELSE {_AT} END AS begins, {_AT} AS'
    " ends, {loss: loss, lr: lr, pre_clip_grad_norm: pre_clip_grad_norm} AS args FROM tolaria_training_update"
    ' WHERE "update" IS NOT NULL WINDOW w AS (PARTITION BY rank, model, optimizer ORDER BY timestamp, seq)',
)

PHASES: Final = Track(
    ("tolaria_phase_durations",),
    "SELECT rank, 'phase ' || phase || coalesce(' on ' || device, '') AS track, phase AS name, ends - list_sum(passes)"
    " AS begins, ends, {passes: len(passes), seconds: list_sum(passes), longest_s: list_max(passes)} AS args FROM"
    f" (SELECT rank, device, {_AT} AS ends, unnest(map_keys(durations_s)) AS phase, unnest(map_values(durations_s)) AS"
    " passes FROM tolaria_phase_durations) WHERE len(passes) > 0",
)

PROFILES: Final = Track(
    ("phase_profiles",),
    "SELECT rank, 'phase ' || phase AS track, phase AS name, ends - ms / 1000 AS begins, ends, {seconds: ms / 1000,"
    f" round: batch_idx, epoch: epoch}} AS args FROM (SELECT rank, {_AT} AS ends, batch_idx, epoch,"
    " unnest(map_keys(phases)) AS phase, unnest(map_values(phases)).wall_ms AS ms FROM phase_profiles)"
    " WHERE ms IS NOT NULL",
)

EPOCHS: Final = Track(
    ("tolaria_epochs",),
    f"SELECT rank, concat('environment ', env_id, {_ARM}) AS track, 'epoch ' || inner_epoch AS name, {_AT} -"
    f" coalesce(host_epoch_time_ms, 0) / 1000 AS begins, {_AT} AS ends, {{episode: episode_idx, val_accuracy:"
    " val_accuracy, val_loss: val_loss} AS args FROM tolaria_epochs WHERE inner_epoch IS NOT NULL",
)

PASSES: Final = Track(
    ("tolaria_loader_pass",),
    f"SELECT rank, kind || 's' AS track, kind || ' ' || number AS name, {_AT} - coalesce(duration_ms, 0) / 1000 AS"
    f" begins, {_AT} AS ends, {{batches: batches, samples: samples, updates: updates}} AS args"
    " FROM tolaria_loader_pass",
)

CHECKPOINTS: Final = Track(
    ("checkpoint_saved",),
    f"SELECT rank, 'checkpoints' AS track, 'checkpoint' AS name, {_AT} - coalesce(duration_ms, 0) / 1000 AS begins,"
    f" {_AT} AS ends, {{path: path, size_bytes: size_bytes}} AS args FROM checkpoint_saved",
)

FINDINGS: Final = Track(
    ("finding",),
    f"SELECT coalesce(TRY_CAST(who['rank'] AS BIGINT), rank) AS rank, 'findings' AS track, grade || ': ' || sentence AS"
    f" name, {_AT} AS begins, {_AT} AS ends, {{kind: kind, evidence: evidence, cause: cause, next_step: next_step}} AS"
    " args FROM finding",
)

ANOMALIES: Final = Track(
    ("anomalies",),
    f"SELECT rank, 'detectors' AS track, event_type AS name, {_AT} AS begins, {_AT} AS ends, {{detail:"
    " coalesce(detail, reason, message)} AS args FROM anomalies",
)

ENDS: Final = Track(
    ("run_ended",),
    f"SELECT rank, 'findings' AS track, 'run ' || outcome AS name, {_AT} AS begins, {_AT} AS ends, {{detail: detail}}"
    " AS args FROM run_ended",
)

SLICES: Final = (
    ROUNDS,
    POLICY_UPDATES,
    STEPS,
    PHASES,
    PROFILES,
    EPOCHS,
    PASSES,
    CHECKPOINTS,
    FINDINGS,
    ANOMALIES,
    ENDS,
)
"""Slices; one without a length is an instant."""


def _counter(view: str, name: str, value: str, detail: str = "''") -> Track:
    return Track(
        (view,),
        f"SELECT rank, '{name}' || {detail} AS track, '' AS name, {_AT} AS begins, {_AT} AS ends, {value} AS args"
        f" FROM {view} WHERE isfinite({value})",
    )


COUNTERS: Final = (
    _counter("tolaria_training_update", "loss", "loss", _MODEL),
    _counter("tolaria_training_update", "pre-clip gradient norm", "pre_clip_grad_norm", _MODEL),
    _counter("tamiyo_updates", "policy loss", "policy_loss", _ARM),
    _counter("tamiyo_updates", "pre-clip gradient norm of the policy", "pre_clip_grad_norm", _ARM),
    _counter("infrastructure", "resident memory, MiB", "process_memory_bytes / 1048576.0"),
    _counter("infrastructure", "tensor memory, GiB", "cuda_memory_allocated_gb", "coalesce(' of ' || device, '')"),
)
"""Counter tracks: the value is in ``args``; one that is not finite is left out."""
