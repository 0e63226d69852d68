"""PyPI's `lm-eval` with local-completions and the server's own tokenizer, unchanged."""

from __future__ import annotations

import json
from pathlib import Path

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from service import Service

TASK = """
task: continuations
dataset_path: json
dataset_kwargs: {{data_files: {file}}}
test_split: train
output_type: multiple_choice
doc_to_text: text
doc_to_choice: choices
doc_to_target: target
"""
DOCS = [
    {"text": "It was a dark and stormy", "choices": [" night", " equation"], "target": 0},
    {"text": "She opened the", "choices": [" equation", " door"], "target": 1},
    {"text": "He said to his old", "choices": [" friend", " velocity"], "target": 0},
]


@pytest.fixture
def model(url: str) -> LocalCompletionsAPI:
    return LocalCompletionsAPI(base_url=f"{url}/v1/completions", model="books", batch_size=4, max_length=2048)


def score(server: Service, text: str) -> list[float]:
    """The log-probabilities of the tokens after the first, by the gRPC API."""
    code, output, errors = server.run("score", text, "--json")
    assert code == 0, errors
    lines = [json.loads(line) for line in output.splitlines()]
    return [line["logprob"] for line in lines if line["event"] == "token" and line["logprob"] is not None]


def test_its_sums_are_those_of_score(server: Service, model: LocalCompletionsAPI) -> None:
    assert model.tokenizer_backend == "remote"
    pairs = [(doc["text"], choice) for doc in DOCS for choice in doc["choices"]]
    found = model.loglikelihood([Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)])
    for (context, continuation), (total, _) in zip(pairs, found, strict=True):
        scores = score(server, context + continuation)
        tokens = len(model.tok_encode(context + continuation)) - len(model.tok_encode(context))
        assert total == pytest.approx(sum(scores[-tokens:]), abs=1e-4)


def test_a_local_task(model: LocalCompletionsAPI, tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    (tmp_path / "continuations.yaml").write_text(TASK.format(file=file))
    results = lm_eval.simple_evaluate(
        model=model, tasks=["continuations"], task_manager=TaskManager(include_path=str(tmp_path))
    )
    assert results["results"]["continuations"]["acc,none"] == 1.0


def test_it_generates(model: LocalCompletionsAPI) -> None:
    request = ("It was a dark", {"until": ["."], "max_gen_toks": 20})
    (text,) = model.generate_until([Instance("generate_until", {}, request, 0)])
    assert text and "." not in text
