"""The programs on the CUDA backend, over the block emulator, which they load in place of libfma_cuda.so."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import BIN, GOLDEN
from encoders import ENCODERS, case_of
from service import Service
from test_golden import evaluate, log_softmax

EMULATED = BIN / "libfma_cuda_emulated.so"


@pytest.mark.parametrize("mode", ["decode", "prefill"])
def test_eval_gives_the_golden_logits(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    golden = np.load(GOLDEN / "modern_hierarchical" / "logits.npy")
    out = tmp_path / "logits.npy"
    logits = evaluate("modern_hierarchical", out, "--mode", mode, "--device", "cuda:0")
    assert np.abs(log_softmax(logits) - log_softmax(golden)).max() <= 1e-3


def test_server_continues_greedily(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    folder = GOLDEN / "paper_conv"
    case = json.loads((folder / "case.json").read_text())
    prompt = case["tokens"][: case["greedy_prompt_len"]]
    with Service("--slots", 2, model=folder) as server:
        assert "device cuda:0, block emulator" in server.log()
        words = ("--json", "--temperature", 0, "--ignore-eos", "--max-tokens", len(case["greedy"]))
        code, answer, errors = server.run("generate", *words, "--token-ids", json.dumps(prompt))
        assert code == 0, errors
        assert server.stop() == 0
    tokens = [token for line in answer.splitlines() for token in json.loads(line).get("token_ids", [])]
    assert tokens == case["greedy"]


@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_integers_give_nearly_the_logits_of_the_cpu(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The products are the same to the bit; what is between them is not, and may round an input to another integer."""
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    case, out = "modern_hierarchical", tmp_path / "logits.npy"
    words = ("--chunk", 40, "--weights", weights)
    expected = log_softmax(evaluate(case, out, *words, "--device", "cpu"))
    assert np.abs(log_softmax(evaluate(case, out, *words, "--device", "cuda:0")) - expected).max() <= 0.01
    assert np.abs(log_softmax(evaluate(case, out, "--chunk", 40, "--device", "cpu")) - expected).max() > 0.05


def test_auto_takes_the_gpu_for_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    case = case_of("encoder_linear")
    with Service(model=ENCODERS / "encoder_linear") as server:
        assert "device cuda:0, block emulator" in server.log()
        code, answer, errors = server.run("embed", "--json", "--token-ids", json.dumps(case["tokens"]))
        assert code == 0, errors
        values = json.loads(answer.splitlines()[0])["values"]
        assert np.abs(np.array(values) - case["embedding"]).max() <= 1e-5
        assert server.stop() == 0


def test_auto_takes_the_gpu_for_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    with Service("--weights", "int4", model=GOLDEN / "modern_hierarchical") as server:
        assert "device cuda:0, block emulator" in server.log()
        words = ("generate", "--token-ids", "[1, 2, 3]", "--max-tokens", 3, "--ignore-eos")
        assert server.run(*words)[0] == 0


@pytest.mark.parametrize("mode", ["decode", "prefill"])
def test_a_cache_in_int8_is_that_of_the_cpu(mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    case, out = "modern_hierarchical", tmp_path / "logits.npy"
    words = ("--mode", mode, "--cache-dtype", "int8")
    expected = log_softmax(evaluate(case, out, *words, "--device", "cpu"))
    # Queries and weights of a slice are rounded to bfloat16, which with a cache in bfloat16 makes a difference of 0.08.
    bound = 1e-3 if mode == "decode" else 0.15
    assert np.abs(log_softmax(evaluate(case, out, *words, "--device", "cuda:0")) - expected).max() <= bound


def test_auto_takes_the_gpu_for_a_cache_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    with Service("--cache-dtype", "int8", model=GOLDEN / "modern_hierarchical") as server:
        assert "device cuda:0, block emulator" in server.log()
        words = ("generate", "--token-ids", "[1, 2, 3]", "--max-tokens", 3, "--ignore-eos")
        assert server.run(*words)[0] == 0


def test_the_devices_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    with Service("--device", "cuda:0", "--slots", 3, model=GOLDEN / "average") as server:
        series = server.scrape()
        label = 'fma_device_memory_bytes{model_name="average",kind='
        assert series[label + '"total"}'] == 4 << 30
        state = server.sum("fma_state_bytes")
        assert state + series['fma_weights_bytes{model_name="average"}'] <= series[label + '"used"}'] < 1 << 30


@pytest.mark.parametrize(("cache", "served"), [("1M", True), ("0", False)])
def test_units_that_were_opened_lately_are_read_from_the_device(
    cache: str, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    flags = ("--device", "cuda:0", "--slots", 2, "--archive-bytes", "4M", "--device-unit-cache", cache)
    with Service(*flags, model=GOLDEN / "select_open") as server:
        ids = str([i % 96 for i in range(60)])
        words = ("generate", "--token-ids", ids, "--max-tokens", 8, "--ignore-eos", "--temperature", 0)
        assert server.run(*words)[0] == 0
        series = server.scrape()
        label = 'fma_unit_reads_total{model_name="select_open",from='
        assert ("units that were opened last: " in server.log()) == served
        if served:
            #: rows from 16 on read one unit of each of 2 layers and KV heads more, up to 3
            assert series[label + '"device"}'] > series[label + '"host"}'] > 0
        else:
            assert label + '"device"}' not in series


def test_a_lost_device_fails_its_requests_and_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", str(EMULATED))
    monkeypatch.setenv("FMA_EMULATOR_WAITS", "60")
    with Service("--device", "cuda:0", "--slots", 3, model=GOLDEN / "average") as server:
        words = ("generate", "--token-ids", "[1, 2, 3]", "--max-tokens", 1000, "--ignore-eos")
        code, _, errors = server.run(*words)
        assert code == 4 and "lost" in errors, errors
        assert server.process.wait(timeout=60) == 1
        assert "the device failed" in server.log()


def test_programs_say_why_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_CUDA_LIBRARY", "/nonexistent/libfma_cuda.so")
    command = [BIN / "fma-server", "--model", GOLDEN / "average", "--device", "cuda:0"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "device cuda:0: cannot load the CUDA backend: /nonexistent/libfma_cuda.so" in done.stdout
