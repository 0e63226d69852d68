"""When a call is sent again, and how long to wait before."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from .errors import FmaError, UnavailableError

__all__ = ["NO_RETRY", "Retry"]


@dataclass(frozen=True)
class Retry:
    """Which failed calls are sent again.

    Those that the server refused with a hint when to come back (`FmaError.retry_after`), after that time; and, where
    a second call cannot do harm, those that found no server, after a delay that doubles each time. A generation is
    only sent again while nothing of it has arrived. One that a server interrupted with a resume token goes on at the
    next server without a gap.

    >>> from fma_client import Client, Retry
    >>> patient = Client("localhost:50051", retry=Retry(attempts=8, first_delay=0.5))
    >>> patient.close()
    """

    attempts: int = 5  #: calls in all; 1 never sends again
    first_delay: float = 0.1  #: seconds
    max_delay: float = 10.0  #: seconds; a longer hint of the server ends the call with its error
    resume_seconds: float = 60.0  #: how long to look for a server that goes on with an interrupted generation


NO_RETRY = Retry(attempts=1, resume_seconds=0)


class Attempts:
    """The attempts of one call."""

    def __init__(self, retry: Retry, idempotent: bool, timeout: float | None) -> None:
        self._retry = retry
        self._idempotent = idempotent
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failed = 0
        self._resume_until: float | None = None

    def timeout(self) -> float | None:
        """Seconds left."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0)

    def delay_after(self, error: FmaError) -> float:
        """Seconds to wait after `error` before the next attempt; raises it when there must be none."""
        self._failed += 1
        again = error.retry_after is not None or (self._idempotent and isinstance(error, UnavailableError))
        if not again or self._exhausted():
            raise error
        # The random part keeps clients that failed together from coming back together.
        doubled = self._retry.first_delay * 2.0 ** (self._failed - 1)
        backoff = min(doubled, self._retry.max_delay) * random.uniform(0.5, 1)
        delay = backoff if error.retry_after is None else error.retry_after + backoff * 0.1
        left = self.timeout()
        if (error.retry_after or 0) > self._retry.max_delay or (left is not None and delay >= left):
            raise error
        return delay

    def interrupted(self) -> None:
        """The server handed out a resume token: what failed before counts no more."""
        self._failed = 0
        self._idempotent = True
        self._resume_until = time.monotonic() + self._retry.resume_seconds

    def _exhausted(self) -> bool:
        if self._resume_until is not None:
            return time.monotonic() >= self._resume_until
        return self._failed >= self._retry.attempts
