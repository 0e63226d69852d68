"""A generation under way, of the blocking client."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, Self

import grpc

from . import errors
from ._calls import Calls
from ._progress import Progress
from .options import OnProgress
from .types import Completion, Delta

__all__ = ["Generation"]


class Generation(Progress, Iterator[Delta]):
    """A generation under way: iterate over it, or read() it whole.

    Leaving a `with` block, or dropping the object, cancels what is left; the server stops within one step.

    >>> with client.generate("It was a dark", max_tokens=1000) as story:
    ...     for delta in story:
    ...         if len(story.completions[0].token_ids) >= 5:
    ...             break
    """

    def __init__(self, calls: Calls, request: Any, timeout: float | None, on_progress: OnProgress | None) -> None:
        super().__init__(calls, request, timeout, on_progress)
        self._cancelled = threading.Event()
        self._call = self._start()

    def read(self) -> list[Completion]:
        """Waits for the end. One completion for each of the `n` samples."""
        for _ in self:
            pass
        return self.completions

    def text(self) -> str:
        """Waits for the end. The text of the first sample.

        >>> client.generate("It was a dark", max_tokens=3, seed=1).text() != ""
        True
        """
        return self.read()[0].text

    def cancel(self) -> None:
        """Ends it; safe from another thread. Whoever iterates gets CancelledError."""
        self._cancelled.set()
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delta:
        while not self._ready:
            self._take(self._receive())
        return self._ready.popleft()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cancel()

    def __del__(self) -> None:
        if hasattr(self, "_call"):
            self._call.cancel()

    def _receive(self) -> Any:
        while True:
            try:
                return next(self._call)
            except grpc.RpcError as error:
                delay = self._delay_after(error)
            if self._cancelled.wait(delay):
                raise errors.cancelled()
            self._call = self._start()
            if self._cancelled.is_set():  # just before the new call was there
                self._call.cancel()
