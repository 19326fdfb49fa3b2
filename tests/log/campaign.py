"""Every odd value in every field of every class of the contract; 'make lines' runs it, minutes."""

from __future__ import annotations

import pytest

from esper_otel.events import EVENT_TYPES, Event
from tests.log.native_queue import built
from tests.log.test_native_lines import ODD, assert_equal, event_with

pytestmark = built


@pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.__name__)
def test_every_odd_value_in_every_field_is_written_as_python_would_write_it(event: type[Event]) -> None:
    for field in event.__struct_fields__:
        assert_equal(*[event_with(event, field, odd) for odd in ODD.values()])
