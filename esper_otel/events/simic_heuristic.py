"""esper-lite's rule-based trainer and the text tables that it prints."""

from typing import Annotated

from esper_otel.events.declare import Domain, Event, Severity, declares, note
from esper_otel.events.types import Flag, Real, Text, Texts, Whole


@declares("SIMIC_SUMMARY_TABLE", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="summary_table")
class SummaryTable(Event, frozen=True, kw_only=True):
    """Text tables that esper-lite prints."""

    batch: Annotated[Whole, note("Number of the batch (round), from 1.")] = None
    episodes_completed: Annotated[Whole, note("Episodes finished so far.")] = None
    summary_table: Annotated[Text, note("Blueprint statistics as text.")] = None
    scoreboard_tables: Annotated[dict[str, str] | None, note("Scoreboard as text, by environment.")] = None


@declares("SIMIC_HEURISTIC_CONFIG", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="heuristic_config")
class HeuristicConfig(Event, frozen=True, kw_only=True):
    """Configuration of esper-lite's rule-based trainer."""

    env_id: Annotated[Whole, note("Environment.")] = None
    mode: Annotated[Text, note("heuristic.")] = None
    task: Annotated[Text, note("Task.")] = None
    topology: Annotated[Text, note("Kind of host: cnn or transformer.")] = None
    episodes: Annotated[Whole, note("Episodes planned.")] = None
    max_epochs: Annotated[Whole, note("Epochs in an episode.")] = None
    max_batches: Annotated[Whole, note("Batches in an epoch.")] = None
    device: Annotated[Text, note("Device.")] = None
    slots: Annotated[Texts, note("Enabled slots.")] = None
    min_fossilize_improvement: Annotated[Real, note("Gain needed to fossilise, percentage points.")] = None
    max_seeds: Annotated[Whole, note("Seeds allowed.")] = None
    reward_mode: Annotated[Text, note("Reward variant.")] = None


@declares("SIMIC_HEURISTIC_EPISODE", domain=Domain.SIMIC, legacy="ANALYTICS_SNAPSHOT", legacy_kind="heuristic_episode")
class HeuristicEpisode(Event, frozen=True, kw_only=True):
    """An episode of the rule-based trainer ended."""

    env_id: Annotated[Whole, note("Environment.")] = None
    mode: Annotated[Text, note("heuristic.")] = None
    task: Annotated[Text, note("Task.")] = None
    episode_id: Annotated[Text, note("Label of the run.")] = None
    episode: Annotated[Whole, note("Episode, from 1.")] = None
    episodes_total: Annotated[Whole, note("Episodes planned.")] = None
    base_seed: Annotated[Whole, note("Random seed of the episode.")] = None
    final_accuracy: Annotated[Real, note("Final accuracy, 0 to 100.")] = None
    total_reward: Annotated[Real, note("Reward of the episode.")] = None
    action_counts: Annotated[dict[str, int] | None, note("Times each operation was chosen.")] = None


@declares(
    "SIMIC_HEURISTIC_WARNING",
    domain=Domain.SIMIC,
    severity=Severity.WARNING,
    legacy="ANALYTICS_SNAPSHOT",
    legacy_kind="heuristic_warning",
)
class HeuristicWarning(Event, frozen=True, kw_only=True):
    """The rule-based trainer runs with part of its telemetry off."""

    env_id: Annotated[Whole, note("Environment.")] = None
    mode: Annotated[Text, note("heuristic.")] = None
    task: Annotated[Text, note("Task.")] = None
    device: Annotated[Text, note("Device.")] = None
    telemetry_lifecycle_only: Annotated[Flag, note("Only life-cycle events are sent.")] = None
    telemetry_level: Annotated[Text, note("Telemetry level.")] = None
