"""What each method asks and what it makes of the answer, the same for both clients."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from ._assembly import alternatives, token_score
from ._wire import admin, encoders, generation, health, sessions
from .options import Prompt, set_prompt
from .types import (
    Embedding,
    FilledMask,
    FilledText,
    Model,
    Place,
    Sampling,
    Score,
    SessionInfo,
    Tokens,
    copy_fields,
)

T = TypeVar("T")

#: Stands for the descriptor of what is no message: the stream of an import.
_NO_MESSAGE = SimpleNamespace(fields_by_name=())

#: Bytes of one message of an import; the server takes far larger ones.
_PIECE = 1 << 20


@dataclass(frozen=True)
class Ask(Generic[T]):
    """A unary RPC: its name, its request, and what becomes of its answer."""

    rpc: str
    request: Any
    answer: Callable[[Any], T]


def addressed(request: Any, model: str) -> Any:
    """The request, which says now which model it means: in `model`, where it has one, or in its options."""
    if not model:
        return request
    if isinstance(request, generation.ChatRequest):
        request.options.model = model
    elif "model" in getattr(request, "DESCRIPTOR", _NO_MESSAGE).fields_by_name:
        request.model = model
    return request


def session_hint(request: Any) -> tuple[tuple[str, str], ...]:
    """Metadata by which a load balancer finds the replica that has the session in memory; none without a session."""
    options = request.options if isinstance(request, generation.ChatRequest) else request
    session_id = getattr(options, "session_id", "")
    # The server says what is wrong with an id; one that is not allowed in metadata would not get that far.
    return (("x-session-id", session_id),) if re.fullmatch(r"[\w.-]{1,128}", session_id, re.ASCII) else ()


_ROLES = {2: "prefill", 3: "decode"}  # fma.v1.Role


def _model(message: Any) -> Model:
    mask = message.mask_token_id if message.HasField("mask_token_id") else None
    sampling = copy_fields(Sampling, message.sampling)
    return copy_fields(Model, message, sampling=sampling, mask_token_id=mask, role=_ROLES.get(message.role, "any"))


def _session_info(message: Any) -> SessionInfo:
    return copy_fields(SessionInfo, message, place=Place(message.place))


def _session_id(message: Any) -> str:
    return str(message.session_id)


def tokenize(text: str) -> Ask[Tokens]:
    request = generation.TokenizeRequest(text=text)
    return Ask("Tokenize", request, lambda response: copy_fields(Tokens, response))


def detokenize(token_ids: Iterable[int]) -> Ask[str]:
    request = generation.DetokenizeRequest(token_ids=token_ids)
    return Ask("Detokenize", request, lambda response: str(response.text))


def score(text: Prompt, top_logprobs: int, no_archive: bool) -> generation.ScoreRequest:
    request = generation.ScoreRequest(top_logprobs=top_logprobs, no_archive=no_archive)
    set_prompt(request, text)
    return request


def score_of(responses: list[Any]) -> Score:
    """What the whole stream of a score says."""
    tokens = tuple(token_score(token) for response in responses for token in response.scores.tokens)
    return copy_fields(Score, responses[-1].summary, tokens=tokens)


def _add_inputs(request: Any, inputs: Iterable[Prompt]) -> None:
    if isinstance(inputs, str | bytes):
        raise TypeError("the texts are one text; allowed: a list of texts, or of lists of token ids")
    for text in inputs:
        set_prompt(request.inputs.add(), text)


def embed(inputs: Iterable[Prompt], truncate: bool) -> encoders.EmbedRequest:
    request = encoders.EmbedRequest(truncate=truncate)
    _add_inputs(request, inputs)
    return request


def embeddings_of(responses: list[Any]) -> list[Embedding]:
    """Those of a whole stream, in the order of their texts."""
    found = sorted((r.embedding for r in responses if r.HasField("embedding")), key=lambda each: each.index)
    return [copy_fields(Embedding, each) for each in found]


def fill_mask(inputs: Iterable[Prompt], mask: str, top: int | None) -> encoders.FillMaskRequest:
    request = encoders.FillMaskRequest(mask=mask, top=top)
    _add_inputs(request, inputs)
    return request


def filled_of(responses: list[Any]) -> list[FilledText]:
    """Those of a whole stream, in the order of their texts."""
    found = sorted((r.text for r in responses if r.HasField("text")), key=lambda each: each.index)
    return [FilledText(each.tokens, tuple(_filled_mask(mask) for mask in each.masks)) for each in found]


def _filled_mask(message: Any) -> FilledMask:
    return FilledMask(message.position, alternatives(message.candidates))


def model() -> Ask[Model]:
    return Ask("GetModel", generation.GetModelRequest(), _model)


def list_models() -> Ask[list[Model]]:
    return Ask("ListModels", generation.ListModelsRequest(), lambda response: [_model(m) for m in response.models])


def load_model(folder: str, name: str) -> Ask[Model]:
    return Ask("LoadModel", admin.LoadModelRequest(folder=folder, name=name), _model)


def unload_model(name: str, grace_seconds: float | None) -> Ask[None]:
    request = admin.UnloadModelRequest(name=name, grace_seconds=grace_seconds)
    return Ask("UnloadModel", request, lambda _: None)


def is_serving() -> Ask[bool]:
    serving = 1  # HealthCheckResponse.SERVING
    return Ask("Check", health.HealthCheckRequest(), lambda response: bool(response.status == serving))


def new_session(session_id: str, ttl_seconds: float | None, pinned: bool) -> sessions.CreateSessionRequest:
    return sessions.CreateSessionRequest(session_id=session_id, ttl_seconds=ttl_seconds, pinned=pinned)


def create(session_id: str, ttl_seconds: float | None, pinned: bool) -> Ask[str]:
    return Ask("Create", new_session(session_id, ttl_seconds, pinned), _session_id)


def get(session_id: str) -> Ask[SessionInfo]:
    return Ask("Get", sessions.GetSessionRequest(session_id=session_id), _session_info)


def list_sessions(page_size: int, page_token: str) -> Ask[tuple[list[SessionInfo], str]]:
    """A page, and the token of the next one; empty: it was the last."""
    request = sessions.ListSessionsRequest(page_size=page_size, page_token=page_token)
    return Ask("List", request, lambda page: ([_session_info(s) for s in page.sessions], page.next_page_token))


def update(session_id: str, ttl_seconds: float | None, pinned: bool | None) -> Ask[SessionInfo]:
    request = sessions.UpdateSessionRequest(session_id=session_id, ttl_seconds=ttl_seconds)
    if pinned is not None:
        request.pinned = pinned
    return Ask("Update", request, _session_info)


def fork(session_id: str, children: int) -> Ask[list[str]]:
    request = sessions.ForkSessionRequest(session_id=session_id, children=children)
    return Ask("Fork", request, lambda response: [_session_id(child) for child in response.children])


def rewind(session_id: str, tokens: int) -> Ask[SessionInfo]:
    return Ask("Rewind", sessions.RewindSessionRequest(session_id=session_id, tokens=tokens), _session_info)


def delete(session_id: str) -> Ask[None]:
    return Ask("Delete", sessions.DeleteSessionRequest(session_id=session_id), lambda _: None)


def export(session_id: str, head_only: bool) -> sessions.ExportSessionRequest:
    return sessions.ExportSessionRequest(session_id=session_id, head_only=head_only)


def import_session(session: sessions.CreateSessionRequest, blob: bytes | Iterable[bytes]) -> Ask[str]:
    """Its messages can be read only once."""
    return Ask("Import", _import_messages(session, blob), _session_id)


def _import_messages(session: sessions.CreateSessionRequest, blob: bytes | Iterable[bytes]) -> Iterator[Any]:
    """Who it shall be, then the blob."""
    yield sessions.ImportSessionRequest(session=session)
    for part in (blob,) if isinstance(blob, bytes) else blob:
        for at in range(0, len(part), _PIECE):
            yield sessions.ImportSessionRequest(data=part[at : at + _PIECE])
