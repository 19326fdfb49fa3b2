"""Who has scraped the last values: everybody who does so regularly."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest

from esper_otel.relay.prometheus.endpoint import Endpoint
from esper_otel.relay.prometheus.exposition import FamilyCollector
from esper_otel.relay.prometheus.scrapes import MOST_SCRAPERS, RECENT_S, Scrapes
from tests.waiting import wait_for


def ask(port: int, address: str, method: str = "GET") -> bytes:
    """Scrape from an address of the loopback interface."""
    connection = http.client.HTTPConnection("127.0.0.1", port, source_address=(address, 0))
    connection.request(method, "/metrics")
    return connection.getresponse().read()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    found = Endpoint(FamilyCollector(list, {}), "127.0.0.1", 0)
    yield found
    found.close()


def test_values_are_scraped_once_everybody_who_scrapes_has_done_so(endpoint: Endpoint) -> None:
    for address in ("127.0.0.2", "127.0.0.3"):
        ask(endpoint.port, address)
    last_values_at = time.monotonic()
    assert not endpoint.is_scraped_since(last_values_at)
    ask(endpoint.port, "127.0.0.2")
    assert not endpoint.is_scraped_since(last_values_at)
    ask(endpoint.port, "127.0.0.3")
    wait_for(lambda: endpoint.is_scraped_since(last_values_at), "the note of the last answer")


def test_a_request_that_gets_no_values_is_no_scrape(endpoint: Endpoint) -> None:
    ask(endpoint.port, "127.0.0.2", method="OPTIONS")
    ask(endpoint.port, "127.0.0.3")
    wait_for(lambda: endpoint.is_scraped_since(0.0), "the note of the scrape")
    last_values_at = time.monotonic()
    ask(endpoint.port, "127.0.0.3")
    wait_for(lambda: endpoint.is_scraped_since(last_values_at), "the note of the scrape")


def test_an_answer_says_how_long_it_is(endpoint: Endpoint) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", endpoint.port)
    connection.request("GET", "/metrics")
    assert connection.getresponse().getheader("Content-Length") is not None


def test_somebody_who_stopped_scraping_is_not_waited_for() -> None:
    scrapes = Scrapes()
    scrapes.note("192.0.2.1", 100.0)
    scrapes.note("192.0.2.2", 100.0 + RECENT_S)

    assert scrapes.is_complete_since(100.0 + RECENT_S)
    assert not scrapes.is_complete_since(99.0 + RECENT_S)


def test_only_so_many_addresses_are_remembered_the_newest_ones() -> None:
    scrapes = Scrapes()
    for number in range(MOST_SCRAPERS + 1):
        scrapes.note(f"192.0.2.{number}", float(number))
    for number in range(1, MOST_SCRAPERS + 1):
        scrapes.note(f"192.0.2.{number}", 1000.0)

    assert scrapes.is_complete_since(1000.0)
