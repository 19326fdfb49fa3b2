"""The seed swimlane: a span for every seed from germination to its end, with a child for every stage."""

from __future__ import annotations

from typing import Final

from esper_otel.events import Event, SeedFossilized, SeedGateEvaluated, SeedGerminated, SeedPruned, SeedStageChanged
from esper_otel.log.envelope import Record
from esper_otel.relay.encoding.attributes import AttributeValue, event_attributes
from esper_otel.relay.traces.build import START_UNKNOWN, TRUNCATED, SpanSink, lane_attributes
from esper_otel.relay.traces.state import Lane, Round, Seed, SpanRef

SeedEvent = SeedGerminated | SeedStageChanged | SeedGateEvaluated | SeedFossilized | SeedPruned

ENDED_STAGES: Final = frozenset({"FOSSILIZED", "PRUNED"})
"""Stages entered by the event that ends the span: they have no span of their own."""

EMPTY_STAGES: Final = frozenset({"PRUNED", "EMBARGOED", "RESETTING", "DORMANT"})
"""Stages of a slot that holds no live seed."""

MAX_ATTRIBUTES: Final = 60
MAX_CARRIED: Final = 4_096
"""Most seeds whose spans are remembered over the end of a round: more than any run has slots."""


class SeedSpans:
    """Follows the seeds of every lane; their state is in the round."""

    def __init__(self, sink: SpanSink) -> None:
        """Send finished spans to ``sink``."""
        self._sink = sink

    def germinated(self, lane: Lane, current: Round, record: Record, event: SeedGerminated) -> SpanRef:
        """A seed begins; one that still held its slot ends here, truncated."""
        key, seed = self._find(current, record, event)
        if seed is not None:
            self._close(lane, current, key, seed, record.timestamp_ns, {TRUNCATED: True})
        seed = self._open(current, record, event, key, record.timestamp_ns)
        seed.stage = "GERMINATED"
        return seed_ref(lane, current, seed)

    def stage_changed(self, lane: Lane, current: Round, record: Record, event: SeedStageChanged) -> SpanRef | None:
        """The stage left becomes a span; None when the slot holds no live seed."""
        key, seed = self._find(current, record, event)
        if seed is None:
            if event.from_stage in EMPTY_STAGES or self._is_gone(current, key, record, event):
                return None
            seed = self._resume(lane, current, record, event, key)
            seed.stage = event.from_stage
        self._end_stage(lane, current, seed, record.timestamp_ns, event)
        seed.stage = event.to_stage if event.to_stage not in ENDED_STAGES else None
        return seed_ref(lane, current, seed)

    def gate_evaluated(self, lane: Lane, current: Round, record: Record, event: SeedGateEvaluated) -> SpanRef | None:
        """Belongs to its seed's span, where that is open."""
        _, seed = self._find(current, record, event)
        return None if seed is None else seed_ref(lane, current, seed)

    def ended(self, lane: Lane, current: Round, record: Record, event: SeedFossilized | SeedPruned) -> SpanRef | None:
        """The seed became permanent or was removed: finish its span."""
        key, seed = self._find(current, record, event)
        if seed is None:
            if self._is_gone(current, key, record, event):
                return None
            seed = self._resume(lane, current, record, event, key)
        ref = seed_ref(lane, current, seed)
        outcome = "fossilized" if isinstance(event, SeedFossilized) else "pruned"
        attributes = {**_scalars(event), "kasmina.seed.outcome": outcome}
        self._close(lane, current, key, seed, record.timestamp_ns, attributes)
        return ref

    def truncate_all(self, lane: Lane, current: Round, end_ns: int) -> None:
        """Close every open seed; one that shows up again in the next round is linked to its span here."""
        lane.carried = {}
        for key, seed in list(current.seeds.items()):
            if not seed.cut and len(lane.carried) < MAX_CARRIED:
                trace, span = seed_ref(lane, current, seed)
                lane.carried[seed.seed_id] = (f"{trace:032x}", f"{span:016x}")
            self._close(lane, current, key, seed, end_ns, {TRUNCATED: True})

    def _find(self, current: Round, record: Record, event: SeedEvent) -> tuple[str, Seed | None]:
        key = f"{event.env_id}/{event.slot_id or record.slot_id}"
        return key, current.seeds.get(key)

    def _is_gone(self, current: Round, key: str, record: Record, event: SeedEvent) -> bool:
        return current.gone_seeds.get(key) == _seed_id(record, event)

    def _open(self, current: Round, record: Record, event: SeedEvent, key: str, start_ns: int) -> Seed:
        start_ns, _ = current.clamp(start_ns, start_ns)
        seed = Seed(
            seed_id=_seed_id(record, event),
            env=str(event.env_id),
            slot=str(event.slot_id or record.slot_id),
            number=current.next_number(f"seed {key}"),
            start_ns=start_ns,
            stage_start_ns=start_ns,
            blueprint=getattr(event, "blueprint_id", None),
            cut=not current.take(detail=False),
        )
        current.seeds[key] = seed
        return seed

    def _resume(self, lane: Lane, current: Round, record: Record, event: SeedEvent, key: str) -> Seed:
        """A seed whose beginning is not in this round: it was open at the end of the last one, or was never seen."""
        seed = self._open(current, record, event, key, current.start_ns)
        seed.start_unknown = True
        seed.link = lane.carried.get(seed.seed_id)
        return seed

    def _end_stage(self, lane: Lane, current: Round, seed: Seed, end_ns: int, event: SeedStageChanged | None) -> None:
        stage, start_ns = seed.stage, seed.stage_start_ns
        start_ns, end_ns = current.clamp(start_ns, max(start_ns, end_ns))
        seed.stage, seed.stage_start_ns = None, end_ns
        if stage is None:
            return
        seed.stages += 1
        if seed.cut:
            current.dropped += 1
            return
        if not current.take(detail=True):
            return
        parent = seed_ref(lane, current, seed)
        ref = lane.child(current.number, "stage", seed.env, seed.slot, seed.number, seed.stages)
        attributes: dict[str, AttributeValue] = {**lane_attributes(lane, current), **_identity(seed)}
        attributes["kasmina.stage"] = stage
        if event is not None:
            attributes |= _scalars(event)
        self._sink.add(f"kasmina.stage.{stage.lower()}", ref, (start_ns, end_ns), attributes, parent=parent)

    def _close(
        self, lane: Lane, current: Round, key: str, seed: Seed, end_ns: int, attributes: dict[str, AttributeValue]
    ) -> None:
        self._end_stage(lane, current, seed, end_ns, None)
        del current.seeds[key]
        current.gone_seeds[key] = seed.seed_id
        if seed.cut:
            return
        attributes = {**lane_attributes(lane, current), **attributes, **_identity(seed)}
        if seed.start_unknown:
            attributes[START_UNKNOWN] = True
        self._sink.add(
            "kasmina.seed",
            seed_ref(lane, current, seed),
            current.clamp(seed.start_ns, max(end_ns, seed.stage_start_ns)),
            attributes,
            parent=lane.root(current.number),
            links=() if seed.link is None else ((int(seed.link[0], 16), int(seed.link[1], 16)),),
        )


def seed_ref(lane: Lane, current: Round, seed: Seed) -> SpanRef:
    """The span of ``seed``."""
    return lane.child(current.number, "seed", seed.env, seed.slot, seed.number)


def _seed_id(record: Record, event: SeedEvent) -> str:
    return event.seed_id or record.seed_id or ""


def _identity(seed: Seed) -> dict[str, AttributeValue]:
    known = {"kasmina.seed_id": seed.seed_id, "kasmina.slot_id": seed.slot, "kasmina.env_id": seed.env}
    return {**known, **({} if seed.blueprint is None else {"kasmina.blueprint_id": seed.blueprint})}


def _scalars(event: Event) -> dict[str, AttributeValue]:
    return event_attributes(event, limit=MAX_ATTRIBUTES, maps=False)
