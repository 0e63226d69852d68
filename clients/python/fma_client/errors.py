"""What a call can fail with: one class for each status code that the server uses."""

from __future__ import annotations

from typing import Any

import grpc

from ._wire import error_details, status

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FmaError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "PermissionDeniedError",
    "ResourceExhaustedError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
]


class FmaError(Exception):
    """A call that failed: `code`, the server's `message`, and `retry_after` seconds if it gave that hint.

    >>> from fma_client import InvalidArgumentError
    >>> try:
    ...     client.generate("x", max_tokens=0).read()
    ... except InvalidArgumentError as error:
    ...     print(error.message)
    max_tokens is 0; allowed: 1 or more
    """

    def __init__(self, code: grpc.StatusCode, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.retry_after = retry_after


class InvalidArgumentError(FmaError):
    """A bad request; the message names the field, what was found and what is allowed."""


class FailedPreconditionError(FmaError):
    """The model lacks what the call needs, such as a tokenizer."""


class NotFoundError(FmaError):
    """No such session: never there, expired, or somebody else's."""


class AlreadyExistsError(FmaError):
    """The name of the session is taken."""


class AbortedError(FmaError):
    """Another call is using the session, or the model that is to be unloaded."""


class ResourceExhaustedError(FmaError):
    """The server is full, or a limit is reached."""


class UnavailableError(FmaError):
    """No server at the address, or it shuts down."""


class UnauthenticatedError(FmaError):
    """A token is missing or unknown."""


class PermissionDeniedError(FmaError):
    """The token does not allow this."""


class DeadlineExceededError(FmaError):
    """`timeout` passed."""


class CancelledError(FmaError):
    """The call was cancelled."""


class DataLossError(FmaError):
    """The session's file is damaged."""


class UnimplementedError(FmaError):
    """No FMA Server at the address, or one that is older or set up without this feature."""


class InternalError(FmaError):
    """The server failed."""


_CLASSES: dict[grpc.StatusCode, type[FmaError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.OUT_OF_RANGE: InvalidArgumentError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
}


def cancelled() -> FmaError:
    """What a call that this client cancelled ends with."""
    return CancelledError(grpc.StatusCode.CANCELLED, "cancelled by cancel()")


def from_rpc(error: grpc.RpcError, unreachable_hint: str = "") -> FmaError:
    """The error that `error`, a blocking or an asyncio one, stands for; with the hint where no server answered."""
    call: Any = error  # both kinds have these methods, their common base has not
    code: grpc.StatusCode = call.code()
    # Not dict(metadata): the asyncio kind iterates over pairs and yet has keys().
    trailing = {key: value for key, value in call.trailing_metadata() or ()}  # noqa: C416
    details = trailing.get("grpc-status-details-bin")
    kind = _CLASSES.get(code, InternalError)
    unanswered = kind in (UnavailableError, DeadlineExceededError)
    message = (call.details() or "") + (unreachable_hint if unanswered else "")
    return kind(code, message, None if details is None else retry_after(details))


def retry_after(details: bytes) -> float | None:
    """Seconds of the google.rpc.RetryInfo in a serialized google.rpc.Status."""
    for detail in status.Status.FromString(details).details:
        if detail.type_url.endswith("/google.rpc.RetryInfo"):
            delay = error_details.RetryInfo.FromString(detail.value).retry_delay
            return float(delay.seconds + delay.nanos / 1e9)
    return None
