"""Python client of FMA Server: Client blocks, AsyncClient is for asyncio.

>>> from fma_client import Client
>>> with Client(address) as client:
...     client.generate("It was a dark", max_tokens=5, seed=1).completions[0].index
0
"""

from ._connection import Tls
from .aio import AsyncClient, AsyncGeneration, AsyncSession
from .client import Client
from .errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    FmaError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from .generation import Generation
from .options import GenerateOptions, Messages, Prompt
from .retry import NO_RETRY, Retry
from .session import Session
from .types import (
    CacheMiss,
    Completion,
    Delta,
    Embedding,
    FilledMask,
    FilledText,
    FinishReason,
    LayerShares,
    Model,
    Place,
    Sampling,
    Score,
    SessionInfo,
    SessionTurn,
    Source,
    TokenLogprob,
    Tokens,
    TokenScore,
    Usage,
)

__all__ = [
    "NO_RETRY",
    "AbortedError",
    "AlreadyExistsError",
    "AsyncClient",
    "AsyncGeneration",
    "AsyncSession",
    "CacheMiss",
    "CancelledError",
    "Client",
    "Completion",
    "DataLossError",
    "DeadlineExceededError",
    "Delta",
    "Embedding",
    "FailedPreconditionError",
    "FilledMask",
    "FilledText",
    "FinishReason",
    "FmaError",
    "GenerateOptions",
    "Generation",
    "InternalError",
    "InvalidArgumentError",
    "LayerShares",
    "Messages",
    "Model",
    "NotFoundError",
    "PermissionDeniedError",
    "Place",
    "Prompt",
    "ResourceExhaustedError",
    "Retry",
    "Sampling",
    "Score",
    "Session",
    "SessionInfo",
    "SessionTurn",
    "Source",
    "Tls",
    "TokenLogprob",
    "TokenScore",
    "Tokens",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "Usage",
]
