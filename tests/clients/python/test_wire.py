"""What the package repeats of the protos is complete and right."""

from __future__ import annotations

from dataclasses import fields

import pytest
from fma_client import CacheMiss, FinishReason, GenerateOptions, Place, types
from fma_client._assembly import Assembly
from fma_client._wire import METHODS, admin, encoders, generation, health, sessions
from fma_client.options import make_request

#: Fields of the messages that are not options of generate(): the prompt has an argument, a session its own class,
#: and the client knows the model.
NO_OPTIONS = {"text", "token_ids", "sampling", "session_id", "resume_token", "model"}


def test_every_field_is_an_option() -> None:
    wire = {*generation.GenerateRequest.DESCRIPTOR.fields_by_name, *generation.SamplingParams.DESCRIPTOR.fields_by_name}
    assert set(GenerateOptions.__annotations__) == wire - NO_OPTIONS


def test_every_option_reaches_the_request() -> None:
    def value(annotation: str) -> object:
        if "Mapping" in annotation:
            return {3: 1.5}
        if "Sequence" in annotation:
            return ["x"] if "str" in annotation else [2]
        return {"int": 4, "float": 0.5, "bool": True, "str": "y"}[annotation]

    options = {name: value(hint.__forward_arg__) for name, hint in GenerateOptions.__annotations__.items()}
    request = make_request([7, 8], options, "name")
    assert list(request.token_ids.ids) == [7, 8] and request.session_id == "name"
    for name, expected in options.items():
        found = getattr(request.sampling if hasattr(request.sampling, name) else request, name)
        if not isinstance(found, str | int | float):
            found = dict(found) if isinstance(expected, dict) else list(found)
        assert found == expected, name


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (types.Usage, generation.Usage),
        (types.SessionTurn, generation.SessionTurn),
        (types.Delta, generation.Delta),
        (types.TokenLogprob, generation.TokenLogprob),
        (types.TokenScore, generation.TokenScore),
        (types.Tokens, generation.TokenizeResponse),
        (types.Model, generation.Model),
        (types.SessionInfo, sessions.Session),
    ],
)
def test_every_field_of_an_answer_is_there(cls: type, message: type) -> None:
    assert {field.name for field in fields(cls)} == set(message.DESCRIPTOR.fields_by_name)


def test_every_enum_value_has_a_name() -> None:
    enums = generation.DESCRIPTOR.enum_types_by_name
    reasons = [value.name for value in enums["FinishReason"].values]
    assert {f"FINISH_REASON_{reason.name}" for reason in FinishReason} == {*reasons} - {"FINISH_REASON_UNSPECIFIED"}
    misses = {value.number: value.name.removeprefix("CACHE_MISS_") for value in enums["CacheMiss"].values}
    assert misses == {**dict(enumerate(miss.name for miss in CacheMiss)), 0: "UNSPECIFIED"}
    assert {f"PLACE_{place.name}": place.value for place in Place} == dict(sessions.Session.Place.items())


def test_a_reason_that_only_a_later_server_knows_is_none() -> None:
    assembly = Assembly(1, None)
    assembly.feed(generation.GenerateResponse(finished=generation.Finished(usage={"cache_miss": 99})))
    usage = assembly.completions[0].usage
    assert usage is not None and usage.cache_miss is CacheMiss.NONE


def test_every_method_is_bound() -> None:
    found = {}
    for file in (admin, encoders, generation, sessions, health):
        for service in file.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                sides = [("unary", "stream")[stream] for stream in (method.client_streaming, method.server_streaming)]
                found[method.name] = (f"/{service.full_name}/{method.name}", "_".join(sides), method.output_type.name)
    del found["Watch"]
    assert {name: (m.path, m.kind, m.response.DESCRIPTOR.name) for name, m in METHODS.items()} == found


def test_wrong_options_are_told_by_name() -> None:
    with pytest.raises(TypeError, match="max_token"):
        make_request("x", {"max_token": 3})
    with pytest.raises(ValueError, match="top_k"):
        make_request("x", {"top_k": -1})
    with pytest.raises(TypeError, match="seed"):
        make_request("x", {"seed": "1"})
    with pytest.raises(TypeError, match="bytes"):
        make_request(b"x", {})
    assert not make_request("x", {"seed": None}).sampling.HasField("seed")
