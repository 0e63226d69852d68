"""What the calls return. Fields have the names and meanings of proto/fma/v1."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import IntEnum, StrEnum
from typing import Any, TypeVar

__all__ = [
    "CacheMiss",
    "Completion",
    "Delta",
    "Embedding",
    "FilledMask",
    "FilledText",
    "FinishReason",
    "LayerShares",
    "Model",
    "Place",
    "Score",
    "SessionInfo",
    "SessionTurn",
    "Source",
    "TokenLogprob",
    "TokenScore",
    "Tokens",
    "Usage",
]

T = TypeVar("T")


def copy_fields(cls: type[T], message: Any, **others: Any) -> T:
    """An object of dataclass `cls` with the fields of the same name of a Protobuf `message`."""
    names = [item.name for item in fields(cls) if item.name not in others]  # type: ignore[arg-type]
    values = {name: getattr(message, name) for name in names}
    scalar = (str, bytes, int, float)
    return cls(**{n: v if isinstance(v, scalar) else tuple(v) for n, v in values.items()}, **others)


class FinishReason(StrEnum):
    """Why a generation is complete."""

    EOS = "eos"
    LENGTH = "length"
    STOP_SEQUENCE = "stop_sequence"
    TIME_LIMIT = "time_limit"


class CacheMiss(StrEnum):
    """Why the prefix cache gave nothing of a prompt."""

    NONE = ""  #: it gave something
    OFF = "off"
    SKIPPED = "skipped"
    SESSION = "session"
    SHORT = "short"
    UNSEEN = "unseen"
    NOT_KEPT = "not_kept"


class Place(IntEnum):
    """Where a session's state is."""

    UNSPECIFIED = 0
    ACTIVE = 1
    IN_MEMORY = 2
    ON_DISK = 3


@dataclass(frozen=True)
class TokenLogprob:
    """A token that might have come, and its log-probability."""

    token_id: int
    token: bytes
    logprob: float


@dataclass(frozen=True)
class Source:
    """A unit of the archive that was read to choose a token: tokens [first_token, end_token) of the sequence."""

    first_token: int
    end_token: int
    share: float  #: of the attention of all layers and heads, 0 to 1
    text: str  #: the characters within them; empty where the server does not know the tokens any more
    first_byte: int | None = None  #: where `text` stands in the text of the sequence, if all of it is known
    end_byte: int | None = None


@dataclass(frozen=True)
class LayerShares:
    """How one layer divided the attention of a token's query, on average over its heads; together 1."""

    sinks: float
    near_field: float
    levels: tuple[float, ...]  #: the finest first
    opened_units: float


@dataclass(frozen=True)
class TokenScore:
    """A token of a given text: `logprob` is None for the first one. `top` holds alternatives, best first."""

    token_id: int
    token: bytes
    logprob: float | None
    top: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class Usage:
    """Tokens of a generation and where its time went."""

    prompt_tokens: int
    generated_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    cached_tokens: int
    cache_miss: CacheMiss
    archived_tokens: int = 0  #: that the sequence's archive holds; 0: served in constant memory


@dataclass(frozen=True)
class SessionTurn:
    """What the session holds after a generation."""

    session_id: str
    tokens: int
    durable: bool


@dataclass(frozen=True)
class Delta:
    """What was generated since the last one. `text` never ends in the middle of a character."""

    text: str
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[tuple[TokenLogprob, ...], ...] = ()
    sources: tuple[tuple[Source, ...], ...] = ()
    attention_shares: tuple[tuple[LayerShares, ...], ...] = ()  #: by token and layer
    index: int = 0  #: which of the `n` samples


@dataclass
class Completion:
    """One sample: what has arrived of it, and once it is complete how it ended."""

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[tuple[TokenLogprob, ...]] = field(default_factory=list)
    sources: list[tuple[Source, ...]] = field(default_factory=list)
    attention_shares: list[tuple[LayerShares, ...]] = field(default_factory=list)
    finish_reason: FinishReason | None = None
    stop: str | None = None  #: the stop string that ended it
    stop_token_id: int | None = None  #: the end-of-sequence or stop token that ended it
    usage: Usage | None = None
    session: SessionTurn | None = None


@dataclass(frozen=True)
class Score:
    """Log-probabilities of a text; `total_logprob` sums over all tokens but the first."""

    tokens: tuple[TokenScore, ...]
    scored_tokens: int
    total_logprob: float
    seconds: float


@dataclass(frozen=True)
class Embedding:
    """The vector of a text; its length is 1, so that a dot product of two is their cosine."""

    values: tuple[float, ...]
    tokens: int  #: that were read
    truncated_tokens: int = 0  #: behind them, which were not


@dataclass(frozen=True)
class FilledMask:
    """The most likely tokens at a mask, best first."""

    position: int  #: among the text's tokens
    candidates: tuple[TokenLogprob, ...]


@dataclass(frozen=True)
class FilledText:
    """A text's masks, in its order."""

    tokens: int
    masks: tuple[FilledMask, ...]


@dataclass(frozen=True)
class Tokens:
    """A text as the model sees it: ids, and the bytes of each token."""

    token_ids: tuple[int, ...]
    tokens: tuple[bytes, ...]


@dataclass(frozen=True)
class Sampling:
    """What a request's sampling means where it sets nothing."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0


@dataclass(frozen=True)
class Model:
    """What is served, its limits, and what one sequence costs."""

    name: str
    vocab_size: int
    max_sequence_length: int  #: 0: unlimited
    horizon_tokens: int
    tokenizer: str
    bos_token_ids: tuple[int, ...]
    eos_token_ids: tuple[int, ...]
    parameters: int
    weight_bytes: int
    slot_bytes: int
    full_cache_bytes_per_token: int
    num_slots: int
    device: str
    server_version: str
    aliases: tuple[str, ...] = ()  #: other names by which requests may mean it
    chat: bool = False  #: whether it has a chat template
    sampling: Sampling = field(default_factory=Sampling)
    open_units: int = 0  #: units of its far past that each query opens; 0: there are no archives
    archive_bytes_per_1000_tokens: int = 0  #: what a sequence takes besides `slot_bytes`
    archive_budget_bytes: int = 0  #: of all archives together
    archive_used_bytes: int = 0
    encoder: bool = False  #: for embed() and fill_mask() alone
    mask_token_id: int | None = None  #: of an encoder: what stands for a token to be guessed
    hidden_size: int = 0  #: numbers of an embedding
    role: str = "any"  #: the server's share of the work: "any", "prefill" or "decode"
    role_tokens: int = 0  #: tokens of the other role's work that a call may ask for
    parked_bytes: int = 0  #: what a session's state takes between turns, however long it is


@dataclass(frozen=True)
class SessionInfo:
    """The state of a session."""

    session_id: str
    tokens: int
    place: Place
    bytes: int
    rewind_points: tuple[int, ...]
    log_begin: int
    durable: bool
    pinned: bool
    ttl_seconds: float
    idle_seconds: float
    resume_token: str
