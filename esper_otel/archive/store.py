"""Access to one archive: objects by key, written whole or not at all.

Every failure is an :class:`ArchiveError` with one line of text, from which credentials are removed.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from esper_otel.archive.address import Address
from esper_otel.text.extras import first_missing, missing
from esper_otel.text.hosts import is_loopback
from esper_otel.text.redaction import HIDDEN, redacted_text

TIMEOUT_S: Final = 60
CONNECT_S: Final = 5
RETRIES: Final = 2
RETRY_S: Final = 20
"""Time within which the library itself repeats a request; the callers repeat what failed for longer."""

MAX_OBJECT_BYTES: Final = 64 * 2**20
"""Longest object that is read into memory: a segment's description, or the index."""

_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
ROLE: Final = "ESPER_OTEL_ARCHIVE_ROLE"
"""Variable that allows asking the cloud's metadata service for the role of this machine."""

CREDENTIALS: Final = {
    "s3": (
        "AWS_ACCESS_KEY_ID",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
    ),
    "gs": (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SKIP_SIGNATURE",
    ),
    "az": (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_ACCESS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_TOKEN",
        "AZURE_STORAGE_CLIENT_SECRET",
        "AZURE_CLIENT_SECRET",
        "AZURE_FEDERATED_TOKEN_FILE",
        "AZURE_SKIP_SIGNATURE",
        "AZURE_STORAGE_USE_EMULATOR",
    ),
}
"""Variables by which the user gives credentials, or says that none are needed, by the scheme of the address."""

_SECRETS: Final = re.compile(r"(?:AWS|AZURE|GOOGLE)_\w*(?:KEY|SECRET|TOKEN|SAS)\w*")
_SHORTEST: Final = 4
_MAX_TEXT: Final = 300

_ATTEMPTS: Final = re.compile(r" in [\d.]+\S*s(?:, after .*?retry_timeout: \S+)?\s+- ")
"""How long the attempts took, which is another time each time."""

_HINTS: Final = {
    "BadScheme": "; plain HTTP to another machine needs AWS_ALLOW_HTTP=true",
    "ConnectionRefused": " (connection refused)",
    "dns error": " (the name is unknown)",
    "TimedOut": " (timed out)",
    "RequestTimeTooSkewed": "; the clock of this machine is wrong",
}
"""Words of the library's detailed message, and what they mean."""


class ArchiveError(OSError):
    """An archive cannot be reached, read or written; the message is one line without credentials."""


class Item(msgspec.Struct, frozen=True):
    """An object in a list: its key, its size in bytes, and a tag that changes with its content."""

    key: str
    size: int
    tag: str


def _instead_of(url: str, directory: Path) -> str:
    """Address of the run that a directory which does not exist was to be, if it is that."""
    above, _, name = url.rpartition("/")
    is_run = directory.with_name(f"run_id={directory.name}").is_dir()
    return f"the run is at {above}/run_id={name}" if is_run else "there is no such directory"


class Store:
    """The objects of one archive. Safe for use by several threads."""

    def __init__(self, address: Address, *, is_written: bool = False) -> None:
        """Open nothing; ``is_written`` creates the directory of an archive on this machine.

        Raises:
            ArchiveError: the package obstore is missing, or a variable has a bad value.
        """
        self.url = address.url
        self.directory = Path(unquote(urlsplit(address.url).path)) if address.is_local else None
        if first_missing(("obstore",)):
            raise ArchiveError(f"{self.url}: {missing('obstore', 'archive')}")
        if self.directory is not None and not is_written and not self.directory.is_dir():
            raise ArchiveError(f"{self.url} does not exist: {_instead_of(self.url, self.directory)}")
        try:
            self._store = _local(self.directory) if self.directory is not None else _remote(address.url)
        except Exception as error:  # the library raises many types
            raise self._failed("cannot be opened", error) from None

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object; a reader sees the old one or the new one, never a part.

        Raises:
            ArchiveError: it was not written.
        """
        import obstore

        try:
            obstore.put(self._store, key, content)
        except Exception as error:
            raise self._failed(f"{key} cannot be written", error) from None

    def get(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            FileNotFoundError: there is none.
            ArchiveError: it cannot be read.
        """
        import obstore

        try:
            found = obstore.get(self._store, key)
            if found.meta["size"] > MAX_OBJECT_BYTES:
                raise ArchiveError(f"{self.url}/{key} has {found.meta['size']:,} bytes, which nobody wrote there")
            return bytes(found.bytes())
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url}/{key} does not exist") from None
        except ArchiveError:
            raise
        except Exception as error:
            raise self._failed(f"{key} cannot be read", error) from None

    def pieces(self, key: str) -> Iterator[memoryview]:
        """The content of an object, piece by piece.

        Raises:
            FileNotFoundError: there is none.
            ArchiveError: it cannot be read.
        """
        import obstore

        try:
            for piece in obstore.get(self._store, key).stream():
                yield memoryview(piece)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.url}/{key} does not exist") from None
        except Exception as error:
            raise self._failed(f"{key} cannot be read", error) from None

    def items(self, folder: str) -> Iterator[Item]:
        """The objects below ``folder``, in no order.

        Raises:
            ArchiveError: they cannot be listed.
        """
        import obstore

        try:
            for page in obstore.list(self._store, prefix=folder):
                for found in page:
                    yield Item(found["path"], found["size"], found["e_tag"] or "")
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(f"{folder} cannot be listed", error) from None

    def remove(self, key: str) -> None:
        """Remove an object if it is there.

        Raises:
            ArchiveError: it cannot be removed, as with credentials that may only write.
        """
        import obstore

        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return
        except Exception as error:
            raise self._failed(f"{key} cannot be removed", error) from None

    def _failed(self, what: str, error: Exception) -> ArchiveError:
        return ArchiveError(f"{self.url}: {what}: {plain_text(error)}")


def plain_text(error: Exception, environment: Mapping[str, str] | None = None) -> str:
    """The message of the library as one short line, equal for equal failures, without credentials."""
    whole = str(error)
    text = whole.partition("\n\nDebug source")[0]
    code, message = re.search(r"<Code>(.*?)</Code>", text), re.search(r"<Message>(.*?)</Message>", text, re.DOTALL)
    text = _ATTEMPTS.sub(" - ", text.partition(": <")[0].partition("\n")[0])
    if code is not None:
        said = html.unescape(message[1]).rstrip(".") if message is not None else ""
        text = f"{text}: {code[1]}{said and f', {said}'}"
    hint = next((hint for word, hint in _HINTS.items() if word in whole), "")
    variables = os.environ if environment is None else environment
    secrets = [value for name, value in variables.items() if _SECRETS.fullmatch(name) and len(value) >= _SHORTEST]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return redacted_text(" ".join(text.split()))[:_MAX_TEXT] + hint


def _check_credentials(scheme: str) -> None:
    """Return if the user says where credentials come from: the library would look in more places by itself.

    Raises:
        PermissionError: the user does not.
    """
    given = (*CREDENTIALS[scheme], ROLE)
    if not any(os.environ.get(name) for name in given):
        raise PermissionError(
            f"no credentials are given; set {CREDENTIALS[scheme][0]} (docs/guides/archive.md lists all variables), or"
            f" {ROLE}=1 for the role of this machine"
        )


def _local(directory: Path) -> Any:
    from obstore.store import LocalStore

    return LocalStore(prefix=directory, mkdir=True)


def _remote(url: str) -> Any:
    from obstore.store import from_url

    _check_credentials(url.partition(":")[0])
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), "")
    options: dict[str, Any] = {"timeout": f"{TIMEOUT_S}s", "connect_timeout": f"{CONNECT_S}s"}
    if endpoint and is_loopback(urlsplit(endpoint).hostname or ""):
        options["allow_http"] = True  # to another machine only where AWS_ALLOW_HTTP says so
    retries: Any = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)}
    more: Any = {"endpoint": endpoint} if endpoint and url.startswith("s3:") else {}
    return from_url(url, client_options=options, retry_config=retries, **more)  # type: ignore[call-overload]
