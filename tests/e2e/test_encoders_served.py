"""Encoders behind the real server: the tool, the OpenAI door, metrics, the log, and who is refused."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import BIN, GOLDEN, run
from encoders import ENCODERS, attentive_encoder, byte_encoder, case_of
from service import Service, eventually
from test_golden import log_softmax

CASES = sorted(path.name for path in ENCODERS.iterdir())
LINEAR = "encoder_linear"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    models = [
        *("--model", ENCODERS / "encoder_grouped_conv", "--model", f"decoder={GOLDEN / 'average'}"),
        *("--model", f"bytes={byte_encoder(tmp_path_factory.mktemp('models') / 'bytes')}"),
    ]
    with Service(*models, "--openai", "127.0.0.1:0", model=ENCODERS / LINEAR) as running:
        yield running
        assert running.stop() == 0


def lines_of(server: Service, *words: object) -> list[Any]:
    code, output, errors = server.run(*words, "--json")
    assert code == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def embed(server: Service, tokens: list[int], *words: object) -> np.ndarray:
    """The vector of one text."""
    embedding, summary = lines_of(server, "embed", "--token-ids", json.dumps(tokens), *words)
    assert embedding["event"] == "embedding" and embedding["tokens"] == summary["tokens"]
    return np.array(embedding["values"], np.float32)


def evaluate(case: str, tmp_path: Path, tokens: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Logits and embedding by fma-eval."""
    ids, logits, embedding = tmp_path / "ids.json", tmp_path / "logits.npy", tmp_path / "embedding.npy"
    ids.write_text(json.dumps(tokens), "utf-8")
    outputs = ("--logits", logits, "--embedding", embedding)
    run(BIN / "fma-eval", "--model", ENCODERS / case, "--token-ids", ids, "--device", "cpu", *outputs)
    return np.load(logits), np.load(embedding)[0]


@pytest.mark.parametrize("case", CASES)
def test_embeddings_are_those_of_fma_eval(server: Service, case: str, tmp_path: Path) -> None:
    tokens = case_of(case)["tokens"]
    found = embed(server, tokens, "--model", case)
    assert np.array_equal(found, evaluate(case, tmp_path, tokens)[1])
    assert np.abs(found - case_of(case)["embedding"]).max() <= 1e-5


@pytest.mark.parametrize("case", CASES)
def test_masks_are_filled_as_fma_eval_says(server: Service, case: str, tmp_path: Path) -> None:
    tokens = case_of(case)["tokens"]
    tokens[3] = tokens[60] = 95
    expected = log_softmax(evaluate(case, tmp_path, tokens)[0])
    words = ("fill-mask", "--token-ids", json.dumps(tokens), "--top", 7, "--model", case)
    text, summary = lines_of(server, *words)
    assert summary["tokens"] == text["tokens"] == len(tokens)
    places = [position for position, token in enumerate(tokens) if token == 95]
    assert [mask["position"] for mask in text["masks"]] == places
    for mask in text["masks"]:
        row = expected[mask["position"]]
        assert [c["token_id"] for c in mask["candidates"]] == np.argsort(-row, kind="stable")[:7].tolist()
        for candidate in mask["candidates"]:
            assert abs(candidate["logprob"] - row[candidate["token_id"]]) <= 1e-5


def test_a_batch_gives_what_each_text_gives_alone(server: Service, tmp_path: Path) -> None:
    texts = [chr(97 + i % 26) * (1 + 37 * i) for i in range(30)]
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(texts) + "\n", "utf-8")
    *together, summary = lines_of(server, "embed", "--lines", "--prompt-file", file, "--model", "bytes")
    assert summary["tokens"] == sum(map(len, texts))
    values = {each["index"]: each["values"] for each in together}
    assert sorted(values) == list(range(len(texts)))
    for index in (0, 1, 17, 29):
        (alone, _) = lines_of(server, "embed", texts[index], "--model", "bytes")
        assert alone["values"] == values[index], index


def test_people_get_vectors_and_words(server: Service) -> None:
    code, output, _ = server.run("embed", "hello", "--model", "bytes")
    assert code == 0 and len(output.split()) == 32
    assert abs(sum(float(number) ** 2 for number in output.split()) - 1) < 1e-5
    code, output, _ = server.run("fill-mask", "--token-ids", "[1, 2, 95]", "--top", 2)
    assert code == 0
    first, *candidates = output.splitlines()
    assert first == "mask at token 2" and len(candidates) == 2


def test_a_text_has_the_masks_that_the_request_names(server: Service) -> None:
    words = ("fill-mask", "a ___ b [MASK]", "--model", "bytes")
    text, _ = lines_of(server, *words, "--mask", "___")
    assert text["tokens"] == 12 and [mask["position"] for mask in text["masks"]] == [2]
    text, _ = lines_of(server, *words)
    assert text["tokens"] == 9 and [mask["position"] for mask in text["masks"]] == [8]


def test_models_say_what_they_are(server: Service) -> None:
    linear, short, decoder, _ = lines_of(server, "models")
    assert linear["encoder"] and not decoder["encoder"]
    assert linear["mask_token_id"] == 95 and decoder["mask_token_id"] is None
    assert linear["hidden_size"] == len(case_of(LINEAR)["embedding"]) and linear["slot_bytes"] == 0
    assert linear["max_sequence_length"] > 10_000 and short["max_sequence_length"] == 128
    code, output, _ = server.run("models")
    assert code == 0 and "encoder: for fma embed and fma fill-mask" in output


@pytest.mark.parametrize(
    "words, message",
    [
        (("generate", "--token-ids", "[1]"), f'model "{LINEAR}" is an encoder, which generates nothing'),
        (("score", "--token-ids", "[1, 2]"), f'model "{LINEAR}" is an encoder'),
        (("sessions", "list"), f'model "{LINEAR}" is an encoder'),
        (("embed", "--token-ids", "[1]", "--model", "decoder"), 'model "decoder" is a decoder; allowed: an encoder'),
        (("fill-mask", "--token-ids", "[95]", "--model", "decoder"), 'model "decoder" is a decoder'),
        (("fill-mask", "--token-ids", "[1]"), "inputs[0] is a text without a mask"),
        (("fill-mask", "--token-ids", "[95]", "--top", 0), "top is 0; allowed: 1 to 100"),
        (("embed", "--token-ids", "[96]"), "inputs[0]: token_ids[0] is 96; allowed: 0 to 95"),
        (("embed", "text"), "inputs[0]: text is set; allowed: token_ids instead"),
        (
            ("embed", "--token-ids", json.dumps([1] * 129), "--model", "encoder_grouped_conv"),
            "inputs[0] is 129 tokens; allowed: up to 128, or truncate",
        ),
    ],
)
def test_what_cannot_be_is_refused(server: Service, words: tuple[object, ...], message: str) -> None:
    code, output, errors = server.run(*words)
    assert code == 3 and output == "" and message in errors, errors


def test_truncate_reads_the_first_tokens(server: Service) -> None:
    model = ("--model", "encoder_grouped_conv")
    ids = json.dumps([i % 95 for i in range(200)])
    (long, _) = lines_of(server, "embed", "--truncate", "--token-ids", ids, *model)
    assert (long["tokens"], long["truncated_tokens"]) == (128, 72)
    assert np.array_equal(np.array(long["values"], np.float32), embed(server, [i % 95 for i in range(128)], *model))


def test_memory_limits_a_text() -> None:
    with Service("--encoder-memory", "16M", model=ENCODERS / LINEAR) as small:
        (model,) = lines_of(small, "models")
        most = model["max_sequence_length"]
        assert 2048 < most < 100_000
        code, _, errors = small.run("embed", "--token-ids", json.dumps([1] * (most + 1)))
        assert code == 3 and f"inputs[0] is {most + 1} tokens; allowed: up to {most}" in errors, errors
        assert embed(small, [1] * most).shape == (32,)
        assert small.stop() == 0


def test_whoever_leaves_ends_the_work(server: Service) -> None:
    before = server.sum("fma_requests_cancelled_total")
    process = server.client("embed", "--model", "bytes", stdin=-1)
    assert process.stdin is not None
    process.stdin.write("x" * 500_000)
    process.stdin.close()
    assert eventually(lambda: server.sum("fma_requests_running") == 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert eventually(lambda: server.sum("fma_requests_running") == 0)
    assert server.sum("fma_requests_cancelled_total") == before + 1


def processor_seconds(server: Service) -> float:
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(server: Service) -> int:
    pages = Path(f"/proc/{server.process.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_a_text_is_given_up_inside_a_layer(tmp_path: Path) -> None:
    """Its attention takes many seconds of the processor, and almost nothing comes before it."""
    with Service(model=attentive_encoder(tmp_path / "model")) as server:
        bytes_before, seconds_before = resident_bytes(server), processor_seconds(server)
        process = server.client("embed", stdin=-1)
        assert process.stdin is not None
        process.stdin.write("x" * 100_000)
        process.stdin.close()
        assert eventually(lambda: processor_seconds(server) > seconds_before + 1.5)
        assert resident_bytes(server) > bytes_before + 100_000_000
        process.send_signal(signal.SIGINT)
        seconds = processor_seconds(server)
        assert eventually(lambda: resident_bytes(server) < bytes_before + 50_000_000)
        assert processor_seconds(server) < seconds + 1
        assert process.wait(timeout=60) == 130
        assert server.stop() == 0


def test_requests_are_counted_and_logged(server: Service) -> None:
    series = f'fma_requests_finished_total{{model_name="{LINEAR}",reason="encoded"}}'
    tokens = f'fma_prompt_tokens_total{{model_name="{LINEAR}"}}'
    before = server.scrape()
    embed(server, [1, 2, 3])
    assert eventually(lambda: server.scrape()[series] == before[series] + 1)
    assert server.scrape()[tokens] == before[tokens] + 3
    assert f"encoder {LINEAR}: " in server.log()
    assert eventually(lambda: "Embed" in server.log())


def ask(server: Service, body: object) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=60)
    try:
        connection.request("POST", "/v1/embeddings", json.dumps(body))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_the_openai_door_embeds(server: Service) -> None:
    tokens = case_of(LINEAR)["tokens"]
    expected = embed(server, tokens)
    status, answer = ask(server, {"input": tokens, "user": "x"})
    assert status == 200 and answer["object"] == "list" and answer["model"] == LINEAR
    assert answer["usage"] == {"prompt_tokens": len(tokens), "total_tokens": len(tokens)}
    (item,) = answer["data"]
    assert item["object"] == "embedding" and item["index"] == 0
    assert np.array_equal(np.array(item["embedding"], np.float32), expected)
    body = {"input": [tokens, [1, 2]], "encoding_format": "base64", "dimensions": 32, "model": LINEAR}
    status, answer = ask(server, body)
    assert status == 200 and [item["index"] for item in answer["data"]] == [0, 1]
    numbers = base64.b64decode(answer["data"][0]["embedding"])
    assert np.array_equal(np.frombuffer(numbers, "<f4"), expected)
    status, answer = ask(server, {"input": ["ab", "a"], "model": "bytes"})
    assert status == 200 and answer["usage"]["prompt_tokens"] == 3


@pytest.mark.parametrize(
    "body, status, message",
    [
        ({}, 400, "input is missing"),
        ({"input": []}, 400, "input"),
        ({"input": [1, "a"]}, 400, "input[1]"),
        ({"input": [1], "dimensions": 16}, 400, "dimensions is 16; allowed: 32"),
        ({"input": [1], "encoding_format": "int8"}, 400, "encoding_format"),
        ({"input": [1], "truncate_prompt_tokens": 5}, 400, "truncate_prompt_tokens"),
        ({"input": [1], "model": "decoder"}, 400, 'model "decoder" is a decoder'),
        ({"input": [1], "model": "none"}, 404, "none"),
        ({"input": [[1]] * 2049}, 400, "input is 2049 texts; allowed: 1 to 2048"),
    ],
)
def test_the_openai_door_refuses(server: Service, body: object, status: int, message: str) -> None:
    found, answer = ask(server, body)
    assert found == status and message in answer["error"]["message"], answer


def test_tokens_and_limits_are_those_of_other_calls(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {hashlib.sha256(b'right').hexdigest()} tokens-per-minute=30\n")
    limits = ("--max-text-bytes", 20, "--max-request-bytes", 2048, "--tokens", tokens)
    with Service(*limits, model=byte_encoder(tmp_path / "bytes")) as server:
        for word, token, code in (
            (20 * "x", "wrong", "UNAUTHENTICATED"),
            (21 * "x", "right", "INVALID_ARGUMENT"),
            (2100 * "x", "right", "RESOURCE_EXHAUSTED"),
        ):
            exit_code, _, errors = server.run("embed", word, "--token", token)
            assert exit_code == 3 and code in errors, errors
        assert server.run("embed", 20 * "x", "--token", "right")[0] == 0
        assert server.run("fill-mask", 19 * "x" + "_", "--mask", "_", "--token", "right", "--json")[0] == 0
        exit_code, _, errors = server.run("embed", "x", "--token", "right")
        assert exit_code == 3 and "RESOURCE_EXHAUSTED" in errors, errors
        assert server.stop() == 0
