"""This server beside llama.cpp on the same weights: decoding, reading and many streams, in turns on one machine.

    compare.py SmolLM2-135M-Instruct.Q4_1.gguf --book book.txt --work build/compare

The numbers of FILE are written in each of --kinds (bfloat16; Q8_0; Q4_0 with an embedding of Q8_0) as a GGUF file for
llama.cpp, and fma-convert makes a checkpoint of that very file, whose blocks it keeps bit for bit. Both run as HTTP
servers with the same client. Every round asks one and then the other; the tables have medians, and ratios of ours to
theirs. Processor time stands beside the clock, because other programs on the machine change it less.

Contexts beyond the length that the model is made for are measured of this server alone.

Writes comparison.json, comparison.md and comparison.png into --work. What is in comparison.json already is not measured
again. Needs the built fma-server, and bench/quality/requirements.txt and fma-convert in this Python.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gguf_copy import write_copy
from peers import Peer, fma_server, llama_cpp
from report import KINDS, OURS, THEIRS, Alone, Comparison, Together, draw, from_json, tables, to_json
from streams import Ids, many_streams, one_stream
from tokenizers import Tokenizer

_STREAM_PROMPT = 32  # tokens
_BYTES_OF = {"f32": 4, "bf16": 2}
_FLOAT16 = 2


def parse_arguments() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file", type=Path, help="a GGUF file with the model")
    options.add_argument("--book", type=Path, required=True, help="UTF-8 text, from which prompts are taken")
    options.add_argument("--work", type=Path, default=Path("build/compare"), help="folder for models and results")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), help="weights of both")
    options.add_argument("--contexts", type=int, nargs="*", default=[128, 4096], help="tokens before decoding")
    options.add_argument("--decode", type=int, default=96, help="tokens that are decoded")
    options.add_argument("--streams", type=int, nargs="*", default=[1, 8, 32], help="decoding at once")
    options.add_argument("--stream-decode", type=int, default=96, help="tokens of each of them")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=1, help="of both")
    options.add_argument("--near", type=int, default=64, help="of fma-convert")
    options.add_argument("--rank", type=int, default=32, help="of fma-convert")
    options.add_argument("--cache-dtype", choices=_BYTES_OF, default="bf16", help="ours; llama.cpp's is float16")
    return options.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Models:
    """The files of one kind of weights."""

    def __init__(self, arguments: argparse.Namespace, kind: str) -> None:
        self.file: Path = arguments.work / f"{kind}.gguf"
        self.folder: Path = arguments.work / f"{kind}-{arguments.near}-{arguments.rank}"
        if not self.file.exists():
            say(f"{kind}: writing {self.file}")
            write_copy(arguments.file, self.file, kind)
        if not self.folder.exists():
            shape = ["--near", str(arguments.near), "--rank", str(arguments.rank), "--open-units", "0"]
            weights = [] if kind == "bf16" else ["--weights", "as-is"]
            command = [sys.executable, "-m", "fma_convert", str(self.file), str(self.folder), *shape, *weights]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        self.config: dict[str, Any] = json.loads((self.folder / "config.json").read_text("utf-8"))


class Measuring:
    """Adds to a comparison what it does not have yet, and saves it after every part."""

    def __init__(self, arguments: argparse.Namespace, comparison: Comparison, ids: Ids) -> None:
        self.arguments = arguments
        self.found = comparison
        self.ids = ids

    def measure(self, kind: str) -> None:
        models = Models(self.arguments, kind)
        for context in self.arguments.contexts:
            if not any(each.kind == kind and each.context == context for each in self.found.alone):
                self.found.alone.append(self._alone(models, kind, context))
                self._save()
        for streams in self.arguments.streams:
            if not any(each.kind == kind and each.streams == streams for each in self.found.together):
                self.found.together.append(self._together(models, kind, streams))
                self._save()

    def _alone(self, models: Models, kind: str, context: int) -> Alone:
        arguments = self.arguments
        rounds: dict[str, list[Any]] = {OURS: [], THEIRS: []}
        tokens = context + arguments.decode + 8
        with self._running(models, 1, tokens, both=tokens <= models.config["max_position_embeddings"]) as peers:
            for number in range(arguments.rounds):
                for peer in peers:
                    say(f"{kind}, context {context}, round {number + 1}: {peer.name}")
                    rounds[peer.name].append(one_stream(peer, self._prompt(number, context), arguments.decode))
            sizes = {OURS: self._slot_bytes(peers[0]), THEIRS: self._their_bytes(models, context)}
        return Alone(kind, context, rounds, sizes)

    def _together(self, models: Models, kind: str, streams: int) -> Together:
        arguments = self.arguments
        rounds: dict[str, list[Any]] = {OURS: [], THEIRS: []}
        prompts = [self._prompt(stream, _STREAM_PROMPT) for stream in range(streams)]
        with self._running(models, streams, _STREAM_PROMPT + arguments.stream_decode + 8) as peers:
            for number in range(arguments.rounds):
                for peer in peers:
                    say(f"{kind}, {streams} streams, round {number + 1}: {peer.name}")
                    rounds[peer.name].append(many_streams(peer, prompts, arguments.stream_decode))
        return Together(kind, streams, rounds)

    @contextlib.contextmanager
    def _running(self, models: Models, streams: int, context: int, both: bool = True) -> Iterator[list[Peer]]:
        """Ours, and llama.cpp's."""
        arguments = self.arguments
        with contextlib.ExitStack() as stack:
            ours = fma_server(models.folder, arguments.threads, streams, arguments.cache_dtype)
            peers = [stack.enter_context(ours)]
            if both:
                peers.append(stack.enter_context(llama_cpp(models.file, arguments.threads, streams, context)))
            for peer in peers:  # the first request pays for pages that nothing has touched
                one_stream(peer, self._prompt(0, 16), 4)
            yield peers

    def _prompt(self, number: int, length: int) -> Ids:
        """Another place of the book for each number, so that no beginning is known."""
        start = 97 * (number + 1)
        if start + length > len(self.ids):
            raise SystemExit(f"the book has {len(self.ids)} tokens; allowed: at least {start + length}")
        return self.ids[start : start + length]

    def _slot_bytes(self, peer: Peer) -> int:
        found = re.search(r"slots of ([\d.]+) MiB", peer.log)
        if found is None:
            raise RuntimeError(f"{peer.name} does not tell the size of a slot")
        return round(float(found[1]) * 2**20)

    def _their_bytes(self, models: Models, context: int) -> int:
        """Keys and values of all tokens in float16."""
        config = models.config
        width = config["num_key_value_heads"] * config["head_dim"]
        return 2 * _FLOAT16 * int(config["num_hidden_layers"] * width * context)

    def _save(self) -> None:
        work: Path = self.arguments.work
        order = list(KINDS)
        self.found.alone.sort(key=lambda each: (order.index(each.kind), each.context))
        self.found.together.sort(key=lambda each: (order.index(each.kind), each.streams))
        (work / "comparison.json").write_text(to_json(self.found), "utf-8")
        (work / "comparison.md").write_text(tables(self.found), "utf-8")


def setting(arguments: argparse.Namespace) -> dict[str, Any]:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))
    cpu = found[1] if found else platform.machine()
    shape = f"{arguments.near}/{arguments.rank}, cache in {arguments.cache_dtype}"
    load = f"{os.getloadavg()[2]:.1f}"
    programs = {"ours": shape, "xllamacpp": version("xllamacpp")}
    return {"processor": cpu, "threads": arguments.threads, "load": load, **programs}


def main() -> None:
    arguments = parse_arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    kept = arguments.work / "comparison.json"
    comparison = from_json(kept.read_text("utf-8")) if kept.exists() else Comparison(setting(arguments))
    ids: Sequence[int] = ()
    for kind in arguments.kinds:
        models = Models(arguments, kind)
        if not ids:
            tokenizer = Tokenizer.from_file(str(models.folder / "tokenizer.json"))
            ids = tokenizer.encode(arguments.book.read_text("utf-8"), add_special_tokens=False).ids
        Measuring(arguments, comparison, ids).measure(kind)
    print(tables(comparison), end="")
    if comparison.alone:
        draw(comparison, arguments.work / "comparison.png")


if __name__ == "__main__":
    main()
