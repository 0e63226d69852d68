"""llama.cpp's HTTP server, as PyPI's xllamacpp brings it, in a process of its own until its input ends.

    llama_server.py FILE.gguf --threads 1 --streams 8 --context 4352
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import xllamacpp


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file", type=Path)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--streams", type=int, default=1, help="that it serves at once")
    options.add_argument("--context", type=int, default=4096, help="tokens of each")
    arguments = options.parse_args()
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(arguments.file)
    parameters.n_parallel = arguments.streams
    parameters.n_ctx = arguments.streams * arguments.context
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = arguments.threads
    parameters.cache_prompt = False  # nothing is kept from one request to the next
    parameters.cache_ram_mib = 0
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
