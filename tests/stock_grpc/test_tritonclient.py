"""Triton's Python client, unmodified."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.grpc as triton
from programs import DEMO_MODEL
from service import Service, eventually
from tritonclient.utils import InferenceServerException

MODEL = DEMO_MODEL.name


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with Service("--slots", 4, "--threads", 1) as found:
        yield found
        assert found.stop() == 0


@pytest.fixture
def client(server: Service) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.address) as made:
        yield made


@pytest.fixture(scope="module")
def expected(server: Service) -> str:
    return server.run("generate", "It was a dark", "--max-tokens", 20, "--seed", 7)[1].rstrip("\n")


def tensor(name: str, value: object) -> triton.InferInput:
    text = isinstance(value, str)
    made = triton.InferInput(name, [1], "BYTES" if text else "BOOL")
    made.set_data_from_numpy(np.array([value.encode()], dtype=object) if text else np.array([value]))
    return made


def text_of(result: triton.InferResult) -> str:
    return result.as_numpy("text_output")[0].decode()


class Stream:
    """A stream and its answers, as its callback gets them."""

    def __init__(self, client: triton.InferenceServerClient):
        self._client = client
        self._answers: queue.Queue[tuple] = queue.Queue()
        client.start_stream(lambda result, error: self._answers.put((result, error)))

    def ask(self, *inputs: triton.InferInput, **options: object) -> None:
        self._client.async_stream_infer(MODEL, [*inputs], **options)

    def answers(self) -> list:
        """Of one request: its results, or the one error."""
        found: list = []
        while True:
            result, error = self._answers.get(timeout=60)
            if error is not None:
                return [error]
            found.append(result)
            if result.get_response().parameters["triton_final_response"].bool_param:
                return found


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert not client.is_model_ready("another") and not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata().name == "fma-server"
    metadata = client.get_model_metadata(MODEL, as_json=True)
    assert [tensor["name"] for tensor in metadata["outputs"]] == ["text_output", "finish_reason"]
    config = client.get_model_config(MODEL).config
    assert config.model_transaction_policy.decoupled and config.backend == "fma" and config.max_batch_size == 0
    assert [tensor.name for tensor in config.input if not tensor.optional] == ["text_input"]
    assert [model.name for model in client.get_model_repository_index().models] == [MODEL]


def test_the_rest_is_unimplemented(client: triton.InferenceServerClient) -> None:
    for call in (client.get_inference_statistics, client.get_trace_settings, client.get_cuda_shared_memory_status):
        with pytest.raises(InferenceServerException) as refused:
            call()
        assert refused.value.status() == "StatusCode.UNIMPLEMENTED"


def test_the_whole_text(client: triton.InferenceServerClient, expected: str) -> None:
    inputs = [tensor("text_input", "It was a dark")]
    parameters = {"max_tokens": 20, "seed": 7}
    outputs = [triton.InferRequestedOutput("text_output")]
    for compression in (None, "gzip", "deflate"):
        result = client.infer(MODEL, inputs, request_id="one", parameters=parameters, outputs=outputs,
                              compression_algorithm=compression)  # fmt: skip
        assert text_of(result).rstrip("\n") == expected
        assert result.get_response().id == "one"
        assert result.as_numpy("finish_reason") is None
    inputs.append(tensor("sampling_parameters", json.dumps(parameters)))
    assert text_of(client.infer(MODEL, inputs, priority=1)).rstrip("\n") == expected


def test_errors_have_their_status(client: triton.InferenceServerClient) -> None:
    inputs = [tensor("text_input", "x")]
    for code, options in {
        "INVALID_ARGUMENT": {"model_name": MODEL, "parameters": {"top_p": 2.0}},
        "NOT_FOUND": {"model_name": "another"},
    }.items():
        with pytest.raises(InferenceServerException) as refused:
            client.infer(inputs=inputs, **options)
        assert refused.value.status() == f"StatusCode.{code}"


def test_a_stream_of_pieces(client: triton.InferenceServerClient, expected: str) -> None:
    stream = Stream(client)
    options = {"parameters": {"max_tokens": 20, "seed": 7}, "enable_empty_final_response": True}
    stream.ask(tensor("text_input", "It was a dark"), request_id="a", **options)
    stream.ask(tensor("text_input", "It was a dark"), tensor("stream", False), request_id="b", **options)
    pieces = stream.answers()
    assert len(pieces) > 5
    assert "".join(map(text_of, pieces)).rstrip("\n") == expected
    assert {piece.get_response().id for piece in pieces} == {"a"}
    (whole,) = stream.answers()
    assert text_of(whole).rstrip("\n") == expected and whole.get_response().id == "b"
    client.stop_stream()


def test_a_request_that_fails_leaves_the_stream(client: triton.InferenceServerClient) -> None:
    stream = Stream(client)
    stream.ask(tensor("text_input", "x"), parameters={"beams": 2})
    stream.ask(tensor("text_input", "x"), parameters={"max_tokens": 2})
    (error,) = stream.answers()
    assert 'parameter is "beams"' in error.message()
    assert isinstance(stream.answers()[-1], triton.InferResult)
    client.stop_stream()


@pytest.mark.parametrize("sequence", [7, "tale"])
def test_a_sequence_remembers(server: Service, client: triton.InferenceServerClient, sequence: object) -> None:
    """Turns are sent at once, as the client's own example does."""
    turns = ["It was a dark", " and then", " The end"]
    stream = Stream(client)
    for i, text in enumerate(turns):
        stream.ask(tensor("text_input", text), sequence_id=sequence, sequence_start=i == 0,
                   sequence_end=i == len(turns) - 1, parameters={"max_tokens": 8, "temperature": 0.0})  # fmt: skip
    said = ["".join(map(text_of, stream.answers())) for _ in turns]
    client.stop_stream()
    assert str(sequence) not in server.run("sessions", "list")[1]
    # The same by the native API.
    assert server.run("sessions", "create", "same")[0] == 0
    for text, answer in zip(turns, said):
        words = ("generate", text, "--session", "same", "--max-tokens", 8, "--temperature", 0)
        assert server.run(*words)[1].rstrip("\n") == answer.rstrip("\n")
    assert server.run("sessions", "delete", "same")[0] == 0


def test_cancelling_frees_the_slot(server: Service, client: triton.InferenceServerClient) -> None:
    stream = Stream(client)
    stream.ask(tensor("text_input", "x"), parameters={"max_tokens": 10**8, "ignore_eos": True})
    assert eventually(lambda: server.sum("fma_slots_used") == 1)
    client.stop_stream(cancel_requests=True)
    assert eventually(lambda: server.sum("fma_slots_used") == 0)
