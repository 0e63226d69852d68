"""Probes and metrics of a running server."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import signal
import socket
import time
from pathlib import Path

from namespaces import with_file
from programs import DEMO_MODEL, GOLDEN, ROOT
from service import Service, eventually

LONG = ("generate", "Once", "--max-tokens", 1_000_000, "--ignore-eos")


def write_large_model(folder: Path, vocab: int) -> None:
    """A golden case enlarged to 128 bytes for each of `vocab` tokens, all zero and so not stored on the disk."""
    golden = GOLDEN / "average"
    config = json.loads((golden / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": vocab}))
    weights = (golden / "model.safetensors").read_bytes()
    tensors = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    end = 0
    for name, tensor in tensors.items():
        if name == "model.embed_tokens.weight":
            tensor["shape"][0] = vocab
        begin, end = end, end + 4 * math.prod(tensor["shape"])
        tensor["data_offsets"] = [begin, end]
    header = json.dumps(tensors).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)


def test_probes_of_a_server_that_loads(tmp_path: Path) -> None:
    write_large_model(tmp_path, vocab=4 << 20)
    model = f"large={tmp_path}"
    with Service("--slots", 1, "--step-tokens", 1, "--threads", 1, model=model, ready=False) as server:
        seen: list[tuple[int, str]] = []

        def is_ready() -> bool:
            seen.append(server.get("/readyz"))
            return seen[-1][0] != 503

        assert not is_ready()
        assert server.get("/livez") == (200, "alive\n")
        for path in ("/health", "/healthz"):
            assert server.get(path)[0] == 503
        assert "fma_build_info" in server.get("/metrics")[1]
        assert eventually(is_ready)
        assert seen[-1] == (200, "ready\n")
        states = [body for _, body in seen[:-1]]
        assert all(state.startswith("loading") for state in states), states
        pattern = r"loading large: (its files|\d+ of 512 MiB of weights)\n"
        assert any(re.fullmatch(pattern, state) for state in states), states
        assert re.search(r"large loaded in [0-9.]+ s$", server.log(), re.M)


def test_a_weight_that_cannot_be_rounded_ends_the_start(tmp_path: Path) -> None:
    write_large_model(tmp_path, vocab=1 << 10)
    with open(tmp_path / "model.safetensors", "r+b") as file:
        file.seek(-2 * 32 * 4 - 4, os.SEEK_END)  # before the last norm
        file.write(b"\0\0\xc0\x7f")  # NaN
    with Service("--weights", "int8", model=tmp_path, ready=False) as server:
        assert server.process.wait(timeout=60) == 1
        assert "self_attn.v_proj: a weight is infinite or NaN; allowed: " in server.log().splitlines()[-1]


def test_probes_from_ready_over_overloaded_to_draining() -> None:
    with Service("--slots", 1, "--max-queue", 0) as server:
        assert server.get("/readyz") == (200, "ready\n")
        assert "version" in json.loads(server.get("/version")[1])
        assert server.get("/nothing")[0] == 404
        with server.client(*LONG) as client:
            assert eventually(lambda: server.get("/readyz") == (429, "overloaded\n"))
            for path in ("/health", "/healthz"):
                assert server.get(path) == (200, "ready\n")
            server.signal(signal.SIGTERM)
            assert eventually(lambda: server.get("/readyz") == (410, "draining\n"))
            assert server.get("/livez") == (200, "alive\n")
            assert server.get("/health") == server.get("/healthz") == (410, "draining\n")
            client.kill()
        assert server.process.wait(timeout=60) == 0


def test_it_is_overloaded_when_no_model_has_room() -> None:
    models = ("--model", f"other={DEMO_MODEL}", "--slots", 1, "--max-queue", 0)
    with Service(*models, model=f"first={DEMO_MODEL}") as server, server.client(*LONG) as first:
        assert eventually(lambda: server.sum("fma_slots_used") == 1)
        assert server.get("/readyz") == (200, "ready\n")
        with server.client(*LONG, "--model", "other") as other:
            assert eventually(lambda: server.get("/readyz") == (429, "overloaded\n"))
            other.kill()
        first.kill()


def test_targets_may_be_whole_urls() -> None:
    with Service("--slots", 1, model=GOLDEN / "average") as server:
        for target in ("http://any.host/livez", "HTTP://127.0.0.1:8080/livez?x=1", "https://any.host/livez"):
            assert server.get(target) == (200, "alive\n")
        assert server.get("http://any.host") == (404, "404 Not Found\n")
        assert server.get("http:///livez")[0] == 400
        assert server.get("ftp://any.host/livez")[0] == 400


def test_a_name_stands_for_all_its_addresses(tmp_path: Path) -> None:
    addresses = ("127.0.0.1", "127.0.0.2")
    before = with_file(tmp_path, "/etc/hosts", "".join(f"{address} both.test\n" for address in addresses))
    with Service("--http", "both.test:0", model=GOLDEN / "average", before=before) as server:
        for address in addresses:
            with socket.create_connection((address, server.http_port), timeout=20) as probe:
                probe.sendall(b"GET /livez HTTP/1.0\r\n\r\n")
                assert probe.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_silent_connection_ends_and_pages_tell_nothing_private(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"private-tenant {hashlib.sha256(b'private-token').hexdigest()}\n")
    with Service("--tokens", tokens) as server, socket.create_connection(("127.0.0.1", server.http_port), 20) as silent:
        started = time.monotonic()
        assert server.run("sessions", "create", "private-session", "--token", "private-token")[0] == 0
        words = ("generate", "private words", "--session", "private-session", "--token", "private-token")
        assert server.run(*words)[0] == 0
        assert eventually(lambda: server.sum("fma_requests_finished_total") == 1)
        pages = [server.get(path)[1] for path in ("/metrics", "/readyz", "/livez", "/health", "/version")]
        assert "private" not in "".join(pages)
        assert silent.recv(100) == b""
        assert 4 < time.monotonic() - started < 10


def documented() -> dict[str, tuple[str, set[str]]]:
    """Metric -> type and labels, from the table."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([^|]*)\|", (ROOT / "docs" / "metrics.md").read_text(), re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def scraped(page: str) -> dict[str, tuple[str, set[str]]]:
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", page, re.M))
    labels: dict[str, set[str]] = {name: set() for name in kinds}
    for series, text in re.findall(r"^(\w+)(?:\{(.*)\})? ", page, re.M):
        family = series if series in kinds else re.sub(r"_(bucket|sum|count)$", "", series)
        labels[family] |= set(re.findall(r'(\w+)="', text)) - {"le"}
    return {name: (kind, labels[name]) for name, kind in kinds.items()}


def test_every_metric_is_documented_and_counts() -> None:
    with Service("--slots", 2) as server:
        expected = documented()
        del expected["fma_device_memory_bytes"], expected["fma_unit_reads_total"]  # of GPUs alone: test_cuda.py
        del expected["fma_tls_certificate_expiry_timestamp_seconds"]  # with TLS alone: test_certificates.py
        del expected["fma_trace_spans_exported_total"], expected["fma_trace_spans_dropped_total"]  # with traces alone
        del expected["fma_session_store_up"]  # with a store alone: test_session_store.py
        assert scraped(server.get("/metrics")[1]) == expected
        code, _, errors = server.run("generate", "It was", "--max-tokens", 20, "--ignore-eos")
        assert code == 0, errors
        assert eventually(lambda: server.sum("fma_requests_finished_total") == 1)
        assert server.sum("fma_generated_tokens_total") == 20
        assert server.sum("fma_inter_token_latency_seconds_count") == 19
        assert server.sum("fma_time_to_first_token_seconds_count") == 1
        assert server.sum("fma_prompt_tokens_total") >= 1
        assert server.sum("fma_slots") == 2
        assert eventually(lambda: server.sum("fma_slots_used") == 0)
        assert server.sum("fma_state_bytes") == 2 * slot_bytes(server)
        assert server.stop() == 0


REFUSED = {
    "nothing to read": ("generate", ""),
    "an unknown token": ("generate", "--token-ids", "[99999999]"),
    "an unknown token to avoid": ("generate", "x", "--ban-token", 99999999),
    "more samples than allowed": ("generate", "x", "--n", 3),
    "a parameter out of range": ("generate", "x", "--top-p", 7),
    "nothing to score": ("score", ""),
    "an unknown token to score": ("score", "--token-ids", "[99999999]"),
}


def test_every_refused_request_is_counted_once() -> None:
    with Service("--slots", 1, "--max-samples", 2, "--max-text-bytes", 9999) as server:

        def refused(reason: str) -> float:
            return server.scrape()[f'fma_requests_rejected_total{{model_name="{DEMO_MODEL.name}",reason="{reason}"}}']

        for count, (why, words) in enumerate(REFUSED.items(), 1):
            assert server.run(*words)[0] == 3, why
            assert refused("invalid") == count, why
        assert server.run("generate", "--session", "none", "x")[0] == 3
        assert (refused("invalid"), refused("session")) == (len(REFUSED), 1)
        assert server.run("models", "--model", "none")[0] == 0
        assert server.sum("fma_requests_rejected_total") == len(REFUSED) + 1


def test_samples_of_a_request_are_one_request() -> None:
    with Service("--slots", 2) as server:
        assert server.run("generate", "It was", "--n", 5, "--max-tokens", 4, "--ignore-eos")[0] == 0
        assert eventually(lambda: server.sum("fma_requests_finished_total") == 1)
        assert server.sum("fma_request_generated_tokens_count") == 1
        assert server.sum("fma_generated_tokens_total") == server.sum("fma_request_generated_tokens_sum") == 20


def cache_miss(server: Service, *words: object) -> tuple[int, str]:
    """What the usage says: tokens that were found, and why none."""
    code, output, errors = server.run("generate", "--json", "--max-tokens", 1, *words)
    assert code == 0, errors
    usage = json.loads(output.splitlines()[-1])["usage"]
    return usage["cached_tokens"], usage["cache_miss"]


def test_the_usage_says_why_nothing_was_cached() -> None:
    def ids(tokens: int, last: int = 5) -> tuple[str, str]:
        return "--token-ids", json.dumps([7] * (tokens - 1) + [last])

    with Service("--slots", 1) as server:
        for _ in range(2):
            assert cache_miss(server, *ids(32)) == (0, "short")
        assert cache_miss(server, *ids(33)) == (0, "unseen")
        assert cache_miss(server, *ids(33)) == (32, "")
        assert cache_miss(server, *ids(33), "--skip-prefix-cache") == (0, "skipped")
        assert cache_miss(server, *ids(33), "--cache-salt", "other") == (0, "unseen")
        assert eventually(lambda: " cache_miss=unseen " in server.log())
    with Service("--slots", 1, "--prefix-cache-memory", 0) as server:
        assert cache_miss(server, *ids(33)) == (0, "off")


def test_what_there_is_to_do_is_told(tmp_path: Path) -> None:
    book = tmp_path / "book"
    book.write_text("many words " * 20_000)
    with Service("--slots", 2, "--step-tokens", 1) as server:
        assert server.sum("fma_slots_utilization") == server.sum("fma_prompt_tokens_unread") == 0
        with server.client("generate", "--prompt-file", book) as client:
            assert eventually(lambda: server.sum("fma_prompt_tokens_unread") > 10_000)
            assert server.sum("fma_slots_utilization") == 0.5
            first = server.sum("fma_prompt_tokens_unread")
            assert eventually(lambda: server.sum("fma_prompt_tokens_unread") < first)
            assert eventually(lambda: server.sum("fma_last_step_age_seconds") < 1)
            client.kill()
        assert eventually(lambda: server.sum("fma_prompt_tokens_unread") == 0)
        before = server.sum("fma_last_step_age_seconds")
        assert eventually(lambda: server.sum("fma_last_step_age_seconds") > before + 0.2)


def slot_bytes(server: Service) -> int:
    _, output, _ = server.run("models", "--json")
    return int(json.loads(output)["slot_bytes"])
