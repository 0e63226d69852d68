"""Tokens a second beside llama.cpp, on the same weights: both as servers, in turns, with the same threads.

    speed.py --model DIR --gguf FILE --book FILE --tokens 1024 4096 8192 --rounds 3

What is compared is what the two servers report of a request that reads so many tokens and then generates --generate
more. The table has the medians of tokens a second, and the ratio of ours to theirs. Nothing comes from a prefix cache.
FILE has the converted model's weights, as dequantise.py writes them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xllamacpp
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from programs import BIN, serve  # noqa: E402

Rates = tuple[float, float]  # tokens a second, of reading and of generating
Ask = Callable[[list[int], int], Rates]


def ours(address: str) -> Ask:
    def ask(ids: list[int], count: int) -> Rates:
        request = ["--token-ids", json.dumps(ids), "--max-tokens", str(count), "--temperature", "0", "--ignore-eos"]
        command = [BIN / "fma", "generate", *request, "--skip-prefix-cache", "--json", "--server", address]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        usage = json.loads(done.stdout.splitlines()[-1])["usage"]
        # The first token is chosen when the reading ends.
        return len(ids) / usage["prefill_seconds"], (count - 1) / usage["decode_seconds"]

    return ask


def theirs(gguf: Path, context: int, threads: int) -> Ask:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_ctx, parameters.n_parallel = context, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(parameters)

    def ask(ids: list[int], count: int) -> Rates:
        request = {"prompt": ids, "max_tokens": count, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
        timings: dict[str, Any] = server.handle_completions(request)["timings"]
        assert timings["prompt_n"] == len(ids) and timings["predicted_n"] == count
        return timings["prompt_per_second"], timings["predicted_per_second"]

    return ask


def medians(rates: list[Rates]) -> Rates:
    return statistics.median(rate[0] for rate in rates), statistics.median(rate[1] for rate in rates)


def parse_arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="folder that fma-convert wrote")
    options.add_argument("--gguf", type=Path, required=True, help="the same weights for llama.cpp")
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096, 8192], help="lengths of prompts")
    options.add_argument("--generate", type=int, default=64, help="tokens after the prompt")
    options.add_argument("--rounds", type=int, default=3, help="of both in turn")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--cache-dtype", choices=["f32", "bf16"], default="f32", help="of our cache")
    return options.parse_args()


def main() -> None:
    arguments = parse_arguments()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    ids = tokenizer.encode(arguments.book.read_text("utf-8"), add_special_tokens=False).ids
    count = arguments.generate
    flags = ["--threads", arguments.threads, "--slots", 1, "--cache-dtype", arguments.cache_dtype, "--device", "cpu"]
    them = theirs(arguments.gguf, max(arguments.tokens) + count + 8, arguments.threads)
    print("| tokens read | reading, ours | llama.cpp | ratio | generating, ours | llama.cpp | ratio |")
    print("| --- " * 7 + "|")
    with serve(arguments.model, *flags) as address:
        us = ours(address)
        for length in arguments.tokens:
            pairs = [(us(ids[:length], count), them(ids[:length], count)) for _ in range(arguments.rounds)]
            mine, other = medians([pair[0] for pair in pairs]), medians([pair[1] for pair in pairs])
            cells = [f"{m:.0f} | {o:.0f} | {m / o:.2f}" for m, o in zip(mine, other, strict=True)]
            print(f"| {length:,} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
