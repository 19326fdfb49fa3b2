"""Configuration of the alerts: options of the relay, else ESPER_OTEL_ALERTS and the like."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from esper_otel.relay.alerts.evaluator import Evaluator
from esper_otel.relay.alerts.findings import FindingsLog
from esper_otel.relay.alerts.notify import Command, Notifier, Webhook
from esper_otel.relay.alerts.pipeline import AlertPipeline
from esper_otel.relay.console import say
from esper_otel.relay.options import AlertOptions
from esper_otel.relay.pipeline import Context
from esper_otel.text.extras import first_missing, missing

VARIABLE: Final = "ESPER_OTEL_ALERTS"
WEBHOOK: Final = "ESPER_OTEL_ALERT_WEBHOOK"
COMMAND: Final = "ESPER_OTEL_ALERT_COMMAND"

_OFF: Final = frozenset({"", "0", "false", "no", "off"})


def alert_options(
    *, is_asked: bool, webhook: str | None, command: str | None, environment: Mapping[str, str] = os.environ
) -> AlertOptions | None:
    """The options; what the command line leaves out, variables tell. None when nobody asks for alerts.

    A receiver without ``--alerts`` asks for them.

    Raises:
        ValueError: the address is no address, or the command cannot be run.
    """
    webhook = (webhook or environment.get(WEBHOOK, "")).strip()
    command = (command or environment.get(COMMAND, "")).strip()
    if webhook and not _is_address(webhook):
        raise ValueError(f"--alert-webhook ({WEBHOOK}): expected an address such as http://localhost:8080/alerts")
    words = _words(command)
    is_on = is_asked or environment.get(VARIABLE, "").strip().lower() not in _OFF
    return AlertOptions(webhook=webhook, command=words) if is_on or webhook or words else None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise ValueError(f"--alert-command ({COMMAND}): {error}") from None
    if words and shutil.which(words[0]) is None:
        raise ValueError(
            f"--alert-command ({COMMAND}): there is no program {words[0]!r}. No shell is used; for one, give it:"
            " sh -c '…'"
        )
    return words


def make(context: Context) -> AlertPipeline | None:
    """Build the pipeline where alerts are asked for; one relay of a run has it, that of rank 0.

    Without the packages that read the log it is reported and left out.
    """
    options = context.alerts
    if options is None or (context.follows is not None and not context.follows(0)):
        return None
    if package := first_missing(("duckdb",)):
        say(f"--alerts: {missing(package, 'sql')}; the run is not diagnosed")
        return None
    receivers: list[Notifier] = [Webhook(options.webhook)] if options.webhook else []
    receivers += [Command(options.command)] if options.command else []
    return AlertPipeline(
        Evaluator(context.run_directory or context.path),
        FindingsLog(context.run_directory, context.run_id),
        receivers,
        directory=context.directory,
        resource=dict(context.resource.attributes),
        follow=context.follow,
    )
