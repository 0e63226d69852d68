"""Speed beside llama.cpp, on the same weights, with one thread each: tokens for each second of processor time.

    speed.py --model DIR --gguf FILE --book FILE --tokens 1024 4096 8000 --rounds 3

Both run as servers, in turns. It is processor time, not the clock, so that other work on the machine counts little.
Reading is a request for one token after a prompt that no cache knows. Generating is what --generate more tokens add to
a request for one after the same prompt, which is then in both servers' caches. The table has the medians, and the ratio
of ours to theirs. FILE has the converted model's weights, as dequantise.py writes them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xllamacpp
from server_metrics import metric
from tokenizers import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/support"))

from programs import BIN, free_port, serve  # noqa: E402

Ids = list[int]
Ask = Callable[[Ids, int, bool], float]  # a prompt, tokens to generate, whether caches may help: processor seconds
Rates = tuple[float, float]  # tokens for each second, of reading and of generating


def ours(address: str, http: int) -> Ask:
    def ask(ids: Ids, count: int, cached: bool) -> float:
        request = ["--token-ids", json.dumps(ids), "--max-tokens", str(count), "--temperature", "0", "--ignore-eos"]
        caching = [] if cached else ["--skip-prefix-cache"]
        command = [str(BIN / "fma"), "generate", *request, *caching, "--json", "--server", address]
        before = metric(http, "process_cpu_seconds_total")
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        used = metric(http, "process_cpu_seconds_total") - before
        assert json.loads(done.stdout.splitlines()[-1])["usage"]["generated_tokens"] == count
        return used

    return ask


def theirs(gguf: Path, context: int) -> Ask:
    """llama.cpp runs in this process, which does nothing else meanwhile."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(gguf)
    parameters.n_ctx, parameters.n_parallel = context, 1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)

    def ask(ids: Ids, count: int, cached: bool) -> float:
        request = {"prompt": ids, "max_tokens": count, "temperature": 0, "ignore_eos": True, "cache_prompt": cached}
        before = time.process_time()
        timings: dict[str, Any] = server.handle_completions(request)["timings"]
        used = time.process_time() - before
        assert timings["predicted_n"] == count
        return used

    return ask


def rates(ask: Ask, ids: Ids, count: int) -> Rates:
    reading = ask(ids, 1, False)
    for _ in range(2):  # the first fills the cache, and the second touches what it filled
        ask(ids, 1, True)
    few, many = ask(ids, 1, True), ask(ids, 1 + count, True)
    assert few < reading / 2, "the prompt was read again"
    return len(ids) / reading, count / (many - few)


def medians(found: list[Rates]) -> Rates:
    return statistics.median(rate[0] for rate in found), statistics.median(rate[1] for rate in found)


def parse_arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", type=Path, required=True, help="folder that fma-convert wrote")
    options.add_argument("--gguf", type=Path, required=True, help="the same weights for llama.cpp")
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text")
    options.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096, 8000], help="lengths of prompts")
    options.add_argument("--generate", type=int, default=128, help="tokens after the prompt")
    options.add_argument("--rounds", type=int, default=3, help="of both in turn")
    options.add_argument("--cache-dtype", choices=["f32", "bf16"], default="f32", help="of our cache")
    return options.parse_args()


def main() -> None:
    arguments = parse_arguments()
    tokenizer = Tokenizer.from_file(str(arguments.model / "tokenizer.json"))
    ids = tokenizer.encode(arguments.book.read_text("utf-8"), add_special_tokens=False).ids
    count = arguments.generate
    them = theirs(arguments.gguf, max(arguments.tokens) + count + 8)
    http = free_port()
    flags = ["--threads", 1, "--slots", 1, "--device", "cpu", "--http", f"127.0.0.1:{http}"]
    print("| tokens read | reading, ours | llama.cpp | ratio | generating, ours | llama.cpp | ratio |")
    print("| --- " * 7 + "|")
    with serve(arguments.model, *flags, "--cache-dtype", arguments.cache_dtype) as address:
        us = ours(address, http)
        for length in arguments.tokens:
            prompt = ids[:length]
            pairs = [(rates(us, prompt, count), rates(them, prompt, count)) for _ in range(arguments.rounds)]
            mine, other = medians([pair[0] for pair in pairs]), medians([pair[1] for pair in pairs])
            cells = [f"{m:.1f} | {o:.1f} | {m / o:.2f}" for m, o in zip(mine, other, strict=True)]
            print(f"| {length:,} | {cells[0]} | {cells[1]} |", flush=True)


if __name__ == "__main__":
    main()
