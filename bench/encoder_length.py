#!/usr/bin/env python3
"""Processor time for each token of one text, short and long, of an encoder.

Makes a random model (random_model) and texts in a temporary folder and reads them with fma-eval, on one thread:

  bench/encoder_length.py [--encoder share] [--tokens 16384 131072 1048576]
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import tempfile
from pathlib import Path

BIN = Path(__file__).resolve().parents[1] / "build" / "release" / "bin"


def processor_seconds(*command: object) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", choices=("share", "token"), default="share", help="How its queries ask")
    parser.add_argument("--tokens", type=int, nargs="+", default=[16_384, 131_072, 1_048_576])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        model, text = Path(temporary) / "model", Path(temporary) / "text.txt"
        subprocess.run([BIN / "random_model", "--encoder", args.encoder, "--out", model], check=True)
        evaluate = (BIN / "fma-eval", "--model", model, "--text", text, "--device", "cpu", "--threads", 1)
        text.write_text("x")
        begun = processor_seconds(*evaluate)
        print(f"{'tokens':>9}  {'seconds':>8}  us a token")
        letters = random.Random(1)
        for tokens in args.tokens:
            text.write_bytes(bytes(letters.choices(range(97, 123), k=tokens)))
            seconds = processor_seconds(*evaluate) - begun
            print(f"{tokens:9,}  {seconds:8.2f}  {1e6 * seconds / tokens:10.2f}", flush=True)


if __name__ == "__main__":
    main()
