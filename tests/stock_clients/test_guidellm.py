"""PyPI's `guidellm` with the model's tokenizer from a local folder, unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from programs import hugging_face_folder
from tool import run_tool

OUTPUT_TOKENS = 20


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face_folder(tmp_path_factory.mktemp("guidellm") / "tokenizer")


def benchmark(backend: str, data: str, requests: int, tokenizer: Path, folder: Path) -> list[dict[str, Any]]:
    """The requests of a run with two streams, all of which succeeded."""
    report = folder / "report.json"
    words = {
        "--backend": f"kind=openai_http,{backend}",
        "--profile": "kind=concurrent,streams=2",
        "--constraint": f"kind=max_requests,count={requests}",
        "--tokenizer": f"kind=hf_auto,model={tokenizer}",
        "--data": f"kind=synthetic_text,prompt_tokens=50,output_tokens={OUTPUT_TOKENS},{data}",
        "--output": f"kind=json,path={report}",
    }
    run_tool("guidellm", "run", "--disable-console", *sum(words.items(), ()), timeout=600, HF_HUB_OFFLINE="1")
    found = json.loads(report.read_text())["benchmarks"][0]["requests"]
    assert not found["errored"], found["errored"][0]["info"]
    assert len(found["successful"]) == requests
    return found["successful"]


@pytest.mark.parametrize("route", ["/v1/completions", "/v1/chat/completions", "/v1/responses"])
def test_it_counts_the_tokens_that_it_asked_for(url: str, route: str, tokenizer: Path, tmp_path: Path) -> None:
    backend = f"target={url},request_format={route}"
    for request in benchmark(backend, "turns=1", 4, tokenizer, tmp_path):
        assert request["output_metrics"]["text_tokens"] == OUTPUT_TOKENS
        # A chat has what its template adds.
        assert request["input_metrics"]["text_tokens"] >= 50
        assert request["info"]["timings"]["token_iterations"] > 5


def test_turns_on_kept_states(url: str, tokenizer: Path, tmp_path: Path) -> None:
    backend = f"target={url},request_format=/v1/responses,server_history=true"
    by_turn: dict[int, dict[str, int]] = {}
    for request in benchmark(backend, "turns=3", 6, tokenizer, tmp_path):
        by_turn[request["info"]["turn_index"]] = request["input_metrics"]
    first, second, third = (by_turn[turn] for turn in range(3))
    for before, after in ((first, second), (second, third)):
        # All that was said before, but for the last token of the answer.
        assert after["cached_tokens"] == before["text_tokens"] + OUTPUT_TOKENS - 1
        assert after["text_tokens"] > after["cached_tokens"]
