"""The file in which Prometheus finds the relays of a telemetry directory (``file_sd_configs``).

Several relays write it, on several hosts where the directory is shared, and relays may be killed at any time. So an
entry names the run in the address that is asked (``/metrics?run=…``): a relay that took over the port of another one
answers for its own run alone. And whoever announces itself removes the entries of this host that nobody answers for.
Entries that no relay made stay as they are. Whoever may write the file may lose entries, so a relay looks whether its
own is still there.
"""

from __future__ import annotations

import socket
import time
from contextlib import AbstractContextManager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

import msgspec

from esper_otel.log.layout import TARGETS_FILE
from esper_otel.log.locks.lock import excluding_others
from esper_otel.log.manifest import replace_file
from esper_otel.log.opening import read_whole
from esper_otel.text.hosts import LOCALHOST, is_this_host

MAX_TARGETS_BYTES: Final = 16 * 1024 * 1024

HOST_LABEL: Final = "__meta_esper_host"
"""The host on which the relay runs. Prometheus drops labels of this form before it stores anything."""

RUN_LABEL: Final = "__param_run"
"""Makes Prometheus ask for ``/metrics?run=…``."""

PROBE_S: Final = 0.2
PROBES_S: Final = 2.0
"""Time to connect to one relay, and to all that are listed, in s."""

LOOPBACK: Final = ("127.0.0.1", "::1")

Entry = dict[str, Any]
"""An entry of the file as it stands there; anybody may have written it."""

WILDCARDS: Final = frozenset({"", "0.0.0.0", "::"})


class Target(msgspec.Struct, frozen=True):
    """The entry of a relay: addresses, all labels that their series get, and what Prometheus needs to ask them."""

    targets: list[str]
    labels: dict[str, str]


def address_of(host: str, port: int) -> str:
    """``host:port`` as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def target_of(host: str, port: int, *, job: str, instance: str, run: str) -> Target:
    """The entry of a relay that listens on ``port`` of ``host``; on all addresses, under the host's name."""
    here = socket.gethostname()
    address = address_of(here if host in WILDCARDS else host, port)
    return Target([address], {"job": job, "instance": instance, HOST_LABEL: here, RUN_LABEL: run})


def announce(directory: Path, target: Target) -> None:
    """List ``target`` in the directory's file, in place of older entries of its run or at its address on this host.

    Entries of this host at whose address nobody listens are removed. Takes some seconds at most.

    Raises:
        OSError: the file cannot be written.
    """
    gone = _unanswered(_read(directory / TARGETS_FILE), target.labels[HOST_LABEL])
    with _locked(directory):
        listed = _read(directory / TARGETS_FILE)
        kept = [entry for entry in listed if entry not in gone and not _is_replaced_by(target, entry)]
        _write(directory, [*kept, msgspec.to_builtins(target)])


def keep(directory: Path, target: Target) -> None:
    """List ``target`` again if its entry was lost, unless a living relay of the same run took its place.

    Raises:
        OSError: the file cannot be written.
    """
    listed = _read(directory / TARGETS_FILE)
    rivals = [entry for entry in listed if _is_of_run(target, entry)]
    is_replaced = any(not all(map(_is_refused, _addresses(entry))) for entry in rivals)
    if msgspec.to_builtins(target) not in listed and not is_replaced:
        announce(directory, target)


def withdraw(directory: Path, target: Target) -> None:
    """Remove ``target`` as it was announced; an entry that another relay put in its place stays.

    Raises:
        OSError: the file cannot be written.
    """
    with _locked(directory):
        listed, own = _read(directory / TARGETS_FILE), msgspec.to_builtins(target)
        if own in listed:
            _write(directory, [entry for entry in listed if entry != own])


def _is_replaced_by(target: Target, entry: Entry) -> bool:
    is_at_its_address = _is_of_host(entry, target.labels[HOST_LABEL]) and _addresses(entry) == target.targets
    return _is_of_run(target, entry) or is_at_its_address


def _is_of_run(target: Target, entry: Entry) -> bool:
    """Return True for an entry of a relay of the same run on this host. The user may give runs a common instance."""
    names = "instance", HOST_LABEL, RUN_LABEL
    return all(_labels(entry).get(name) == target.labels[name] for name in names)


def _is_of_host(entry: Entry, host: str) -> bool:
    return bool(_labels(entry).get(HOST_LABEL) == host)


def _labels(entry: Entry) -> dict[str, Any]:
    labels = entry.get("labels")
    return labels if isinstance(labels, dict) else {}


def _addresses(entry: Entry) -> list[str]:
    addresses = entry.get("targets")
    return [address for address in addresses if isinstance(address, str)] if isinstance(addresses, list) else []


def _unanswered(entries: list[Entry], host: str) -> list[Entry]:
    deadline = time.monotonic() + PROBES_S
    here = [entry for entry in entries if _is_of_host(entry, host)]
    return [entry for entry in here if time.monotonic() < deadline and all(map(_is_refused, _addresses(entry)))]


def _is_refused(address: str) -> bool:
    """Return True if nobody listens at ``address``. Other hosts are never contacted: anybody may have listed them."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isdecimal() or not is_this_host(host):
        return False
    ways = LOOPBACK if host in {socket.gethostname(), LOCALHOST} else (host,)
    found = {_listens(way, int(port)) for way in ways}
    return False in found and True not in found


def _listens(ip: str, port: int) -> bool | None:
    """Return True if somebody listens; None if that is unknown."""
    try:
        with socket.socket(socket.AF_INET6 if ip_address(ip).version == 6 else socket.AF_INET) as client:
            client.settimeout(PROBE_S)
            client.connect((ip, port))
    except ConnectionRefusedError:
        return False
    except (OSError, OverflowError, ValueError):
        return None
    return True


def _locked(directory: Path) -> AbstractContextManager[None]:
    """Lock for the targets file, in a separate file because the targets file is replaced."""
    return excluding_others(directory / f".{TARGETS_FILE}.lock")


def _read(path: Path) -> list[Entry]:
    try:
        return msgspec.json.decode(read_whole(path, MAX_TARGETS_BYTES), type=list[Entry])
    except (OSError, msgspec.DecodeError, RecursionError):
        return []


def _write(directory: Path, entries: list[Entry]) -> None:
    text = msgspec.json.format(msgspec.json.encode(entries), indent=2).decode()
    replace_file(directory / TARGETS_FILE, text + "\n")
