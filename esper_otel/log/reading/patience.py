"""Retries for a file system that fails for a while, as network file systems do."""

from __future__ import annotations

import errno
import time
from typing import Final

FIRST_S: Final = 0.05
LONGEST_S: Final = 5.0
PATIENCE_S: Final = 20.0
"""Retry time of a read that does not follow the log; a follower never gives up."""

_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EBADF,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENODEV,
        errno.ENOMEM,
        errno.ENOTCONN,
        errno.ESHUTDOWN,
        errno.ESTALE,
        errno.ETIMEDOUT,
        getattr(errno, "EREMOTEIO", errno.EIO),
    }
)


class Patience:
    """Time of the next attempt, and number of failures.

    Attributes:
        errors: failures so far.
        trouble: the present failure for people, None while there is none.
    """

    def __init__(self) -> None:
        """Start without failures."""
        self.errors = 0
        self.trouble: str | None = None
        self._pause_s = 0.0
        self._since_s = self._due_s = 0.0

    def failed(self, error: OSError) -> None:
        """Count a failure and delay the next attempt, each time for longer."""
        now = time.monotonic()
        if self.trouble is None:
            self._since_s, self._pause_s = now, 0.0
        self.errors += 1
        self.trouble = error.strerror or str(error)
        self._pause_s = min(self._pause_s * 2, LONGEST_S) or FIRST_S
        self._due_s = now + self._pause_s

    def worked(self) -> None:
        """The failure is over."""
        self.trouble = None

    @property
    def wait_s(self) -> float:
        """Time until the next attempt is due."""
        return max(self._due_s - time.monotonic(), 0.0) if self.trouble is not None else 0.0

    @property
    def is_exhausted(self) -> bool:
        """True if it has failed for so long that it will hardly recover by itself."""
        return self.trouble is not None and time.monotonic() - self._since_s > PATIENCE_S


def may_pass(error: OSError) -> bool:
    """Return True if the failed operation may work later by itself."""
    return error.errno in _PASSING
