"""Receivers of notifications: a webhook as Alertmanager calls it, and a command that reads the same JSON."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import msgspec
import requests

from esper_otel.relay.alerts.findings import Reported
from esper_otel.relay.otlp.http import proxies_of
from esper_otel.text.redaction import redacted_url

TIMEOUT_S: Final = 10.0
"""Time of one attempt."""

LATER_STATUSES: Final = frozenset({408, 425, 429})
"""Statuses below 500 with which a receiver may take the same notification later."""

_NEVER: Final = "0001-01-01T00:00:00Z"
"""End of an alert that still fires, as Alertmanager writes it."""

_LABELS: Final = {"service.name": "job", "service.instance.id": "instance", "esper.run.id": "esper_run_id"}


class RefusedError(RuntimeError):
    """The receiver will not take this notification, however often it is sent."""


class Notifier(Protocol):
    """A receiver. ``name`` is for messages, without secrets."""

    name: str

    def send(self, payload: bytes) -> None:
        """Deliver a notification within :data:`TIMEOUT_S`.

        Raises:
            RefusedError: it will never be taken.
            OSError: it was not taken now.
        """


class Webhook:
    """An address that takes the JSON of Alertmanager's webhooks."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet."""
        self.name = redacted_url(url)
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no password of a ~/.netrc goes to an address that it was not meant for

    def send(self, payload: bytes) -> None:
        """Post the notification. Redirects are not followed."""
        try:
            response = self._session.post(
                self._url,
                data=payload,
                headers={"Content-Type": "application/json", "User-Agent": "esper-otel"},
                timeout=TIMEOUT_S,
                allow_redirects=False,
                proxies=proxies_of(self._url),
                verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
                stream=True,
            )
        except requests.RequestException as error:  # its text may hold the address, and that a token
            raise OSError(type(error).__name__) from None
        response.close()
        if response.ok and not response.is_redirect:
            return
        said = f"HTTP status {response.status_code}"
        if response.status_code >= 500 or response.status_code in LATER_STATUSES:
            raise OSError(said)
        raise RefusedError(said)


class Command:
    """A program that is started for each notification, without a shell."""

    def __init__(self, words: Sequence[str]) -> None:
        """``words``: the program and its arguments."""
        self.name = words[0]
        self._words = list(words)

    def send(self, payload: bytes) -> None:
        """Run the program; it has failed unless it ends with status 0 in time. One that is late is killed."""
        child = subprocess.Popen(
            self._words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            child.communicate(payload, TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise OSError(f"did not end within {TIMEOUT_S:g} s") from None
        finally:
            if child.poll() is None:
                with suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.communicate()
        if child.returncode:
            raise OSError(f"exit status {child.returncode}")


def payload_of(reported: Reported, resource: Mapping[str, Any]) -> bytes:
    """The notification of a finding, in the form of Alertmanager's webhooks, version 4."""
    event = reported.event
    labels = {
        "alertname": event.alert or "Esper" + "".join(part.capitalize() for part in event.kind.split("_")),
        "severity": event.grade,
        "kind": event.kind,
        **{label: str(resource[name]) for name, label in _LABELS.items() if name in resource},
        **(event.who or {}),
    }
    notes = {
        "summary": event.sentence,
        "description": event.meaning,
        "cause": event.cause,
        "evidence": event.evidence,
        "occurred": event.occurred,
        "next_step": event.next_step,
        "query": event.query,
        "runbook": f"runbook.md#{event.alert.lower()}" if event.alert else None,
    }
    annotations = {name: text for name, text in notes.items() if text}
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "startsAt": datetime.fromtimestamp(reported.at, UTC).isoformat().replace("+00:00", "Z"),
        "endsAt": _NEVER,
        "generatorURL": "",
        "fingerprint": reported.event_id.rsplit("-", 1)[-1],
    }
    return msgspec.json.encode(
        {
            "version": "4",
            "groupKey": reported.event_id,
            "truncatedAlerts": 0,
            "status": "firing",
            "receiver": "esper-otel",
            "groupLabels": {"alertname": labels["alertname"]},
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [alert],
        }
    )
