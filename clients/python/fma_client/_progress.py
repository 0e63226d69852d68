"""How far a generation is, whoever reads its stream."""

from __future__ import annotations

from collections import deque
from typing import Any

import grpc

from ._assembly import Assembly
from ._calls import Channel
from ._wire import generation
from .options import OnProgress
from .retry import Attempts
from .types import Completion, Delta, TokenScore


class Progress:
    """What both kinds of Generation know: what has arrived, and whether the call may be made again."""

    def __init__(self, channel: Channel, request: Any, timeout: float | None, on_progress: OnProgress | None) -> None:
        options = request.options if isinstance(request, generation.ChatRequest) else request
        # A second call on a session could append the prompt twice.
        self._attempts = Attempts(channel.retry, not options.session_id, timeout)
        self._channel = channel
        self._request = request
        self._assembly = Assembly(options.n, on_progress)
        self._ready: deque[Delta] = deque()
        self._may_restart = True

    @property
    def completions(self) -> list[Completion]:
        """The samples, as far as they have arrived."""
        return self._assembly.completions

    @property
    def prompt(self) -> list[TokenScore]:
        """The prompt's tokens, with `echo` or `prompt_logprobs`."""
        return self._assembly.prompt

    def _start(self) -> Any:
        rpc = "Chat" if isinstance(self._request, generation.ChatRequest) else "Generate"
        return self._channel.start(rpc, self._request, self._attempts.timeout())

    def _take(self, response: Any) -> None:
        event = response.WhichOneof("event")
        if event == "interrupted":
            self._request = generation.GenerateRequest(resume_token=response.interrupted.resume_token)
            self._attempts.interrupted()
        self._may_restart = event == "interrupted" or (event == "progress" and self._may_restart)
        self._ready.extend(self._assembly.feed(response))

    def _delay_after(self, error: grpc.RpcError) -> float:
        return self._channel.delay_after(error, self._attempts, started=not self._may_restart)
