"""The options of a generation, and the request that they make."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from ._wire import generation

__all__ = ["GenerateOptions", "Messages", "OnProgress", "Prompt"]

#: A text, or token ids. A resume token or a session may make it unnecessary.
Prompt = str | Sequence[int]

#: What a user says, or several messages, each with a "role" and a "content": {"role": "user", "content": "Hello"}.
Messages = str | Sequence[Mapping[str, str]]

#: Called with the prompt's tokens that are read, and all of them, while a long prompt is read.
OnProgress = Callable[[int, int], None]


class GenerateOptions(TypedDict, total=False):
    """Keyword arguments of generate() and chat(); what is left out has the server's default.

    Ranges and meanings stand in docs/api.md and in the comments of proto/fma/v1/generation.proto.
    """

    max_tokens: int  #: default 16
    min_tokens: int
    stop: str | Sequence[str]  #: texts that end the generation
    stop_token_ids: Sequence[int]
    include_stop: bool
    ignore_eos: bool
    time_limit_seconds: float

    temperature: float  #: 0 takes the most likely token; default: Model.sampling
    top_k: int
    top_p: float
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: Mapping[int, float]
    allowed_token_ids: Sequence[int]
    banned_token_ids: Sequence[int]
    seed: int

    n: int  #: samples from one reading of the prompt; default 1
    logprobs: bool
    top_logprobs: int
    prompt_logprobs: int
    echo: bool
    priority: int  #: lower is served first; default 0
    cache_salt: str
    marks: Sequence[int]
    skip_prefix_cache: bool
    no_archive: bool  #: be served in constant memory, without opening units of an archive
    attention_shares: bool  #: return how the query of each token divided its attention, layer by layer
    sources: int  #: how many of the units that were read to return with each token


def make_request(
    prompt: Prompt | None, options: Mapping[str, Any], session_id: str = ""
) -> generation.GenerateRequest:
    """TypeError for an option that there is not, or one of a wrong type; ValueError for one that does not fit."""
    request = generation.GenerateRequest(session_id=session_id)
    set_prompt(request, prompt)
    for name, value in options.items():
        if name not in GenerateOptions.__annotations__:
            raise TypeError(f"generate() has no option {name!r}")
        if value is not None:
            sampling = name in generation.SamplingParams.DESCRIPTOR.fields_by_name
            _set(request.sampling if sampling else request, name, value)
    return request


def make_chat(messages: Messages, options: Mapping[str, Any], session_id: str = "") -> generation.ChatRequest:
    """As make_request. TypeError for a message that is not a role and a content."""
    request = generation.ChatRequest(options=make_request(None, options, session_id))
    for message in [{"role": "user", "content": messages}] if isinstance(messages, str) else messages:
        if not isinstance(message, Mapping) or set(message) != {"role", "content"}:
            raise TypeError(f"a message is {message!r}; allowed: the keys 'role' and 'content', with texts")
        request.messages.add(role=message["role"], content=message["content"])
    return request


def set_prompt(request: Any, prompt: Prompt | None) -> None:
    """Fills the fields `text` or `token_ids` of a request."""
    if isinstance(prompt, str):
        request.text = prompt
    elif isinstance(prompt, bytes):
        raise TypeError("the prompt is bytes; allowed: a str, or a sequence of token ids")
    elif prompt is not None:
        request.token_ids.SetInParent()
        _set(request.token_ids, "ids", prompt)


def _set(message: Any, name: str, value: Any) -> None:
    target = getattr(message, name)
    try:
        if isinstance(target, str | int | float):
            setattr(message, name, value)
        elif isinstance(value, Mapping):
            target.update(value)
        else:
            target.extend([value] if isinstance(value, str) else value)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
