"""PyPI's `aiperf` with the model's tokenizer from a local folder, unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from programs import hugging_face_folder
from service import Service
from tool import run_tool

REQUESTS = 4


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hugging_face_folder(tmp_path_factory.mktemp("aiperf") / "tokenizer")


def profile(url: str, tokenizer: Path, folder: Path, *words: object) -> dict[str, Any]:
    """What it reports of a run, in which no request failed."""
    how = ("--model", "books", "--url", url, "--streaming", "--tokenizer", tokenizer, "--concurrency", 2)
    where = ("--output-artifact-dir", folder, "--ui", "none", "--no-gpu-telemetry")
    # With HF_HUB_OFFLINE it takes no folder. Nothing answers at this address.
    printed = run_tool("aiperf", "profile", *how, *where, *words, timeout=600, HF_ENDPOINT="http://127.0.0.1:9")
    report = json.loads((folder / "profile_export_aiperf.json").read_text())
    assert report.get("error_request_count", {}).get("avg", 0) == 0, printed
    return report


LENGTHS = ("--isl", 50, "--osl", 20, "--request-count", REQUESTS, "--extra-inputs", "ignore_eos:true")


@pytest.mark.parametrize("endpoint", ["completions", "chat", "responses"])
def test_its_counts_are_those_of_the_server(url: str, endpoint: str, tokenizer: Path, tmp_path: Path) -> None:
    report = profile(url, tokenizer, tmp_path, "--endpoint-type", endpoint, *LENGTHS)
    assert report["request_count"]["avg"] == REQUESTS
    assert report["input_sequence_length"]["avg"] == 50
    # It encodes the text again, which may be fewer tokens than were generated.
    assert report["output_sequence_length"]["avg"] == pytest.approx(20, abs=3)
    assert report["inter_token_latency"]["avg"] > 0
    if endpoint != "responses":
        assert report["usage_completion_tokens"]["avg"] == 20


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_with_the_counts_and_metrics_of_the_server(
    server: Service, url: str, endpoint: str, tokenizer: Path, tmp_path: Path
) -> None:
    metrics = f"http://127.0.0.1:{server.http_port}/metrics"
    ready = ("--wait-for-model-timeout", 60, "--wait-for-model-mode", "both")
    counts = ("--use-server-token-count", "--server-metrics", metrics)
    of_chunks = ("--per-chunk-usage",) if endpoint == "chat" else ()
    words = ("--endpoint-type", endpoint, *LENGTHS, *ready, *counts, *of_chunks)
    report = profile(url, tokenizer, tmp_path, *words)
    assert report["output_sequence_length"]["avg"] == report["output_sequence_length"]["max"] == 20
    assert "fma_generated_tokens" in (tmp_path / "server_metrics_export.json").read_text()


def test_turns_on_kept_states(brief_url: str, tokenizer: Path, tmp_path: Path) -> None:
    """It goes on only from responses that are complete: the model ends its answers here."""
    turns = ("--conversation-num", 2, "--conversation-turn-mean", 3, "--isl", 50, "--osl", 500)
    counts = ("--use-server-token-count", "--extra-inputs", "store:true", "--extra-inputs", "min_tokens:3")
    report = profile(brief_url, tokenizer, tmp_path, "--endpoint-type", "responses", *turns, *counts)
    assert report["request_count"]["avg"] == 6
    assert report["usage_prompt_tokens"]["max"] > 150
    assert report["usage_prompt_cache_read_tokens"]["max"] > 100
