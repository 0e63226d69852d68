#!/usr/bin/env python3
"""Random requests to the OpenAI door: none is answered with a fault of the server, and nothing is left of them.

    bench/soak/random_requests.py --requests 1000000 --seed 7     after a build

Bodies that are right are changed in some field, or in some bytes, or in nothing. The exit code is 1 if an answer had
a status that docs/openai.md does not explain by the request, an answer was cut, the server ended, or its memory
or descriptors grew.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from programs import chat_model
from service import Service, eventually

CLIENTS = 4
MEBIBYTE = 2**20
ALLOWED_GROWTH = 64 * MEBIBYTE
VALUES = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e308, -(2**63), 2**64, "", "a", "é\u0000\ud7ff", "x" * 5000, [], [[]],
    [0], [1, 2, 3], [-1], [10**9], ["a", "b"], {}, {"a": 1}, {"5": 1.5}, {"type": "text"}, {"include_usage": True},
)  # fmt: skip
FIELDS = (
    "model", "prompt", "messages", "max_tokens", "max_completion_tokens", "n", "best_of", "stop", "seed", "temperature",
    "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "logprobs",
    "top_logprobs", "prompt_logprobs", "echo", "suffix", "stream", "stream_options", "return_progress", "ignore_eos",
    "min_tokens", "stop_token_ids", "allowed_token_ids", "banned_token_ids", "add_special_tokens", "return_token_ids",
    "return_tokens_as_token_ids", "priority", "cache_salt", "skip_prefix_cache", "no_archive", "sources", "tools",
    "tool_choice", "response_format", "user", "tokens", "return_token_strs", "include_stop_str_in_output", "unknown",
    "input", "instructions", "previous_response_id", "max_output_tokens", "store", "metadata", "truncation", "text",
    "reasoning", "include", "background", "conversation",
)  # fmt: skip
BRIEF = {"max_tokens": 2, "time_limit_seconds": 0.2}
BODIES = {
    "/v1/completions": ({"prompt": "It was a dark", **BRIEF}, {"prompt": ["a", "b"], "stream": True, **BRIEF}),
    "/v1/chat/completions": (
        {"messages": [{"role": "user", "content": "Hi"}], **BRIEF},
        {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be"}]}], "stream": True, **BRIEF},
    ),
    "/v1/responses": (
        {"input": "It was a dark", "max_output_tokens": 2},
        {"input": [{"role": "user", "content": "Hi"}], "instructions": "Be", "stream": True, "max_output_tokens": 2},
    ),
    "/tokenize": ({"prompt": "It was"}, {"messages": [{"role": "user", "content": "Hi"}]}),
    "/detokenize": ({"tokens": [5, 6, 7]},),
    "/v1/embeddings": ({"input": "a"},),
}
PATHS = ("/v1/models", "/v1/models/talker", "/v1/models/other", "/tokenizer_info", "/health", "/version", "/none")
# Not implemented is what the request asked for; unavailable is what a draining server says, and this one does not.
FAULTS = {500, 502, 503, 504}


def random_body(path: str, choose: random.Random) -> bytes:
    body = dict(choose.choice(BODIES[path]))
    for _ in range(choose.choice((0, 0, 1, 1, 2, 4))):
        body[choose.choice(FIELDS)] = choose.choice(VALUES)
    if body.get("max_tokens") not in (1, 2):
        body["time_limit_seconds"] = 0.01
    data = json.dumps(body).encode()
    if choose.random() < 0.15:
        at = choose.randrange(len(data))
        data = data[:at] + choose.choice((b"", b'"', b"}", b"\xff", b"\x00", data)) + data[at + choose.randrange(3) :]
    return data


def ask(connection: http.client.HTTPConnection, choose: random.Random) -> int:
    """Sends one request and reads its answer to the end; returns the status."""
    if choose.random() < 0.1:
        connection.request(choose.choice(("GET", "HEAD", "POST", "PUT")), choose.choice(PATHS))
    else:
        path = choose.choice(tuple(BODIES))
        encoding = {"Content-Encoding": "gzip"} if choose.random() < 0.01 else {}
        connection.request("POST", path, random_body(path, choose), encoding)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def client(port: int, seed: int, count: int, queue: multiprocessing.Queue) -> None:
    """Reports statuses and how often the connection ended without an answer."""
    choose = random.Random(seed)
    found: collections.Counter[object] = collections.Counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    for done in range(count):
        try:
            found[ask(connection, choose)] += 1
        except (OSError, http.client.HTTPException) as error:
            found[type(error).__name__] += 1
            connection.close()
        if done % 1000 == 999 or done == count - 1:
            queue.put(found)
            found = collections.Counter()
    queue.put(None)


def collect(queue: multiprocessing.Queue, requests: int) -> collections.Counter[object]:
    found: collections.Counter[object] = collections.Counter()
    left, start = CLIENTS, time.monotonic()
    while left > 0:
        part = queue.get()
        if part is None:
            left -= 1
            continue
        found += part
        rate = found.total() / (time.monotonic() - start)
        print(f"\r{found.total():,} of {requests:,}, {rate:.0f}/s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def run(server: Service, requests: int, seed: int) -> collections.Counter[object]:
    queue: multiprocessing.Queue = multiprocessing.Queue()
    counts = [requests // CLIENTS + (i < requests % CLIENTS) for i in range(CLIENTS)]
    arguments = [(server.openai_port, seed * CLIENTS + i, count, queue) for i, count in enumerate(counts)]
    clients = [multiprocessing.Process(target=client, args=each, daemon=True) for each in arguments]
    for each in clients:
        each.start()
    return collect(queue, requests)


def resident(server: Service) -> int:
    return int(server.scrape()["process_resident_memory_bytes"])


def open_files(server: Service) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def faults(server: Service, found: collections.Counter[object], memory: int, files: int) -> list[str]:
    """What must not have been."""
    wrong = [f"{count} answers: {what}" for what, count in found.items() if what in FAULTS or isinstance(what, str)]
    if not eventually(lambda: server.sum("fma_slots_used") == 0):
        wrong.append("slots are still in use")
    if not eventually(lambda: open_files(server) <= files + 2):
        wrong.append(f"{open_files(server)} descriptors, {files} before")
    if resident(server) > memory + ALLOWED_GROWTH:
        wrong.append(f"{resident(server) // MEBIBYTE} MiB resident, {memory // MEBIBYTE} before")
    if server.stop() != 0:
        wrong.append(f"it ended with {server.process.returncode}")
    return wrong


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--requests", type=int, default=1_000_000)
    options.add_argument("--seed", type=int, default=7)
    options.add_argument("--folder", type=Path, default=Path("build/random_requests"), help="for a model with chats")
    arguments = options.parse_args()
    model = arguments.folder / "talker"
    if not model.exists():
        arguments.folder.mkdir(parents=True, exist_ok=True)
        chat_model(model)
    memory_flags = ("--prefix-cache-memory", "16M", "--session-memory", "16M")
    with Service("--openai", "127.0.0.1:0", "--threads", 1, *memory_flags, model=model) as server:
        # Slots, caches and the heap get what they keep.
        run(server, min(20_000, arguments.requests), arguments.seed + 1)
        memory, files = resident(server), open_files(server)
        found = run(server, arguments.requests, arguments.seed)
        print(", ".join(f"{what}: {count:,}" for what, count in sorted(found.items(), key=str)))
        print(f"resident {memory // MEBIBYTE} MiB before, {resident(server) // MEBIBYTE} MiB after")
        wrong = faults(server, found, memory, files)
    print("\n".join(wrong) if wrong else "no fault")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
