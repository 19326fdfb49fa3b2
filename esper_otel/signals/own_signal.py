"""The declaration of a metric that no event carries."""

import msgspec

from esper_otel.events.declare import Threshold
from esper_otel.signals.names import prometheus_name


class OwnSignal(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of the relay."""

    name: str
    instrument: str
    unit: str
    description: str
    attributes: tuple[str, ...] = ()
    limits: Threshold | None = None

    @property
    def prometheus_name(self) -> str:
        """Name in Prometheus."""
        return prometheus_name(self.name, self.unit, self.instrument)


def own_signal(
    name: str, instrument: str, unit: str, description: str, *attributes: str, limits: Threshold | None = None
) -> OwnSignal:
    """Declare one; ``instrument`` is gauge, counter or updowncounter."""
    return OwnSignal(
        name=name, instrument=instrument, unit=unit, description=description, attributes=attributes, limits=limits
    )
