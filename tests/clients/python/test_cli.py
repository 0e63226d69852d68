"""python -m fma_client prints what the `fma` tool prints, and ends as it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from devices import full_device
from programs import BIN, GOLDEN, serve
from service import Service, eventually

PYTHON = [sys.executable, "-m", "fma_client"]
TOOL = [str(BIN / "fma")]
PROMPT = 'It was a "dark"\n\tand café 🙂 night'


def start(program: list[str], *words: object, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    """Bytes that are no UTF-8, as the tokens of a character are, become odd characters instead of an error."""
    pipes = {"stdin": stdin, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*program, *map(str, words)], **pipes, encoding="utf-8", errors="surrogateescape")


def finish(process: subprocess.Popen[str], given: str | None = None) -> tuple[int, str, str]:
    output, errors = process.communicate(given, timeout=60)
    return process.returncode, output, errors


def both(*words: object) -> tuple[str, str]:
    """Standard output of both; both must succeed."""
    results = [finish(start(program, *words)) for program in (PYTHON, TOOL)]
    for code, _, errors in results:
        assert code == 0, errors
    return results[0][1], results[1][1]


@pytest.fixture(autouse=True)
def _server(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_SERVER", address)


@pytest.mark.parametrize(
    "words",
    [
        ("score", PROMPT),
        ("score", PROMPT, "--tokens"),
        ("score", PROMPT, "--top-logprobs", 2),
        ("score", "--token-ids", "[5, 6, 7]"),
        ("tokenize", PROMPT),
        ("detokenize", 300, 301, 302),
        ("models",),
        ("health",),
        ("generate", PROMPT, "-n", 30, "--seed", 4, "--temperature", 0.9, "--echo"),
        ("generate", PROMPT, "--temperature", 0, "--stop", " the", "--max-tokens", 100),
        ("generate", "--token-ids", "[5, 6]", "--allow-token", 300, "--allow-token", 301, "--ban-token", 301),
        ("generate", PROMPT, "--logit-bias", "300=100", "--stop-token", 300, "--include-stop"),
        ("generate", PROMPT, "--n", 3, "--seed", 5, "-n", 8, "--priority", -3, "--cache-salt", "x", "--mark", 2),
        ("generate", "--token-ids", "[500, 600, 700]", "--echo", "--temperature", 0, "--skip-prefix-cache"),
    ],
    ids=lambda words: " ".join(map(str, words))[:50],
)
def test_text_is_the_same(words: tuple[object, ...]) -> None:
    mine, theirs = both(*words)
    assert mine == theirs and mine


def test_what_archives_cost_is_shown_alike() -> None:
    with serve(GOLDEN / "select_open", "--archive-bytes", "2M") as address:
        python, tool = both("models", "--server", address)
        assert python == tool
        assert "per 1,000 tokens besides, of which each query opens 3 units" in tool
        python, tool = both("models", "--server", address, "--json")
        assert python == tool
        ids = json.dumps([i % 96 for i in range(100)])
        words = ("generate", "--token-ids", ids, "--server", address, "--json", "--seed", 1, "--no-archive")
        ends = [json.loads(output.splitlines()[-1])["usage"] for output in both(*words)]
        assert [usage["archived_tokens"] for usage in ends] == [0, 0]
        ends = [json.loads(output.splitlines()[-1])["usage"] for output in both(*words[:-1])]
        assert [usage["archived_tokens"] for usage in ends] == [104, 104]


def test_sources_are_shown_alike() -> None:
    with serve(GOLDEN / "select_open") as address:
        ids = json.dumps([i * i % 96 for i in range(140)])
        words = ("generate", "--token-ids", ids, "-n", 20, "--temperature", 0, "--sources", 2, "--server", address)
        errors = [finish(start(program, *words))[2] for program in (PYTHON, TOOL)]
        tables = [re.findall(r"read most.*\n(?:.* %  tokens .*\n)+", text) for text in errors]
        assert tables[0] == tables[1] and tables[0]
        costs = [re.findall(r"cache .* beside an archive of .*", text) for text in errors]
        assert costs[0] == costs[1] and costs[0]
        outputs = [[json.loads(line) for line in output.splitlines()] for output in both(*words, "--json")]
        found = [[s for event in events if event["event"] == "delta" for s in event["sources"]] for events in outputs]
        assert found[0] == found[1]
        assert [len(sources) for sources in found[0]] == [2] * 20
        ends = [[events[-1][name] for name in ("cache_bytes", "archive_bytes")] for events in outputs]
        assert ends[0] == ends[1] and ends[0][1] > 0


def test_shares_of_attention_are_shown_alike() -> None:
    with serve(GOLDEN / "select_open") as address:
        ids = json.dumps([i * i % 96 for i in range(140)])
        words = ("generate", "--token-ids", ids, "-n", 20, "--temperature", 0, "--shares", "--server", address)
        errors = [finish(start(program, *words))[2] for program in (PYTHON, TOOL)]
        tables = [re.search(r"attention in %.*\nlayer.*\n(?: .*\n)+", text) for text in errors]
        assert tables[0] and tables[1] and tables[0].group() == tables[1].group()
        lines = tables[0].group().splitlines()
        assert lines[1].split()[:3] == ["layer", "sinks", "near"] and lines[1].split()[-1] == "opened"
        assert abs(sum(map(float, lines[-1].split()[1:])) - 100) < 0.5
        outputs = [[json.loads(line) for line in output.splitlines()] for output in both(*words, "--json")]
        found = [[t for e in events if e["event"] == "delta" for t in e["attention_shares"]] for events in outputs]
        assert found[0] == found[1] and len(found[0]) == 20


@pytest.mark.parametrize(
    "words", [("score", PROMPT, "--top-logprobs", 2), ("tokenize", PROMPT), ("models",), ("health",)]
)
def test_json_is_the_same(words: tuple[object, ...]) -> None:
    mine, theirs = ([json.loads(line) for line in output.splitlines()] for output in both(*words, "--json"))
    for event in (*mine, *theirs):
        event.pop("seconds", None)
    assert mine == theirs


def test_generate_json_holds_the_same(tmp_path) -> None:
    prompt = tmp_path / "prompt"
    prompt.write_text("many words of a long prompt " * 200)
    outputs = both(
        "generate", "--prompt-file", prompt, "--json", "-n", 20, "--seed", 1, "--logprobs", "--top-logprobs", 2,
        "--n", 2,
    )  # fmt: skip
    found = []
    for output in outputs:
        events = [json.loads(line) for line in output.splitlines()]
        deltas = sorted((e for e in events if e["event"] == "delta"), key=lambda event: event["index"])
        lists = ("token_ids", "logprobs", "top_logprobs")
        joined = {name: [item for delta in deltas for item in delta.get(name, [])] for name in lists}
        text = "".join(delta["text"] for delta in deltas)
        last = [event for event in events if event["event"] == "finished"]
        assert sorted(event["index"] for event in last) == [0, 1]
        if not found:  # the second one finds the prompt read
            assert any(event["event"] == "progress" for event in events)
        ends = [(e["reason"], e["cache_bytes"], e["full_cache_bytes"], e["usage"]["generated_tokens"]) for e in last]
        found.append((joined, text, ends))
    assert found[0] == found[1]


def test_prompt_logprobs_are_those_of_score() -> None:
    for output in both("generate", PROMPT, "--json", "--prompt-logprobs", 2):
        prompt = [event for event in map(json.loads, output.splitlines()) if event["event"] == "prompt"]
        scores = [json.loads(line) for line in both("score", PROMPT, "--json", "--top-logprobs", 2)[1].splitlines()]
        assert [{**event, "event": "token"} for event in prompt] == scores[:-1]


def test_input_from_standard_input_and_summary_apart() -> None:
    for program in (PYTHON, TOOL):
        process = start(program, "generate", "-n", 5, "--seed", 2, stdin=subprocess.PIPE)
        code, output, errors = finish(process, PROMPT)
        assert code == 0 and output == both("generate", PROMPT, "-n", 5, "--seed", 2)[0]
        assert "generated 5 tokens" in errors and "a full KV cache would hold" in errors


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("generate", "hi", "--temperature", -1), 3, "temperature"),
        (("generate", "hi", "--no-such-option"), 2, ""),
        (("generate", "hi", "--logit-bias", "a=1"), 2, "--logit-bias"),
        (("generate", "--token-ids", "[1, -2]"), 2, "JSON array"),
        (("generate", "hi", "--prompt-file", "-"), 2, ""),
        (("score", "--prompt-file", "/no/such/file"), 2, "/no/such/file"),
        (("models", "--server", "127.0.0.1:1"), 4, "127.0.0.1:1"),
        (("health", "--server", "127.0.0.1:1"), 4, "127.0.0.1:1"),
    ],
    ids=str,
)
def test_failures_end_alike(words: tuple[object, ...], code: int, message: str) -> None:
    for program in (PYTHON, TOOL):
        found, output, errors = finish(start(program, *words))
        assert (found, output) == (code, "") and message in errors


def test_a_draining_server_is_not_healthy() -> None:
    endless = ("generate", "endless", "--max-tokens", 10**8, "--ignore-eos")
    with Service("--slots", 1) as server, server.client(*endless) as busy:
        assert eventually(lambda: server.sum("fma_slots_used") == 1)
        server.signal(signal.SIGTERM)
        assert eventually(lambda: server.get("/readyz")[0] == 410)
        for program in (PYTHON, TOOL):
            for words, expected in (((), "NOT_SERVING\n"), (("--json",), '{"status":"NOT_SERVING"}\n')):
                found = finish(start(program, "health", "--server", server.address, *words))
                assert found == (3, expected, "")
        busy.kill()


PROXY = "http://somebody:secret@127.0.0.1:1"


@pytest.mark.parametrize("program", [PYTHON, TOOL], ids=["python", "tool"])
@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
def test_a_proxy_in_the_way_is_named(
    program: list[str], variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, PROXY)
    host = address.partition(":")[0]
    code, output, errors = finish(start(program, "models"))
    assert (code, output) == (4, "")
    assert f"calls go through the proxy 127.0.0.1:1 that {variable} names: no_proxy={host} goes without it" in errors
    assert "secret" not in errors
    monkeypatch.setenv("no_proxy", f"example.org,{host}")
    assert finish(start(program, "models"))[0] == 0


def test_ctrl_c_prints_what_there_is() -> None:
    process = start(PYTHON, "generate", "endless", "-n", 10**8, "--ignore-eos")
    assert process.stdout is not None and process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert code == 130 and "interrupted; generated" in errors


def test_a_closed_pipe_is_no_error() -> None:
    process = start(PYTHON, "generate", "endless", "-n", 10**8, "--ignore-eos")
    assert process.stdout is not None and process.stderr is not None
    os.read(process.stdout.fileno(), 1)
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_sessions_are_the_same(tmp_path) -> None:
    """The same commands with either program; each has a session of its own, with a name of the same length."""
    scripts = []
    for name, program in (("mine", PYTHON), ("them", TOOL)):
        file = tmp_path / name
        commands: list[tuple[object, ...]] = [
            ("sessions", "create", name, "--ttl", 50),
            ("generate", PROMPT, "--session", name, "--temperature", 0, "-n", 5),
            ("generate", "--session", name, "--temperature", 0, "-n", 2),
            ("sessions", "show", name, "--json"),
            ("sessions", "show", name),
            ("sessions", "rewind", name, 3),
            ("sessions", "update", name, "--pin"),
            ("sessions", "update", name, "--unpin", "--ttl", 0, "--json"),
            ("sessions", "export", name, file, "--head-only"),
            ("sessions", "delete", name),
            ("sessions", "import", file, name, "--pin"),
            ("sessions", "fork", name, "--children", 2, "--json"),
            ("sessions", "list"),
            ("sessions", "delete", name),
        ]
        outputs = []
        for command in commands:
            code, output, errors = finish(start(program, *command))
            assert code == 0, (command, errors)
            if command[1] == "fork":
                children = [json.loads(line)["session_id"] for line in output.splitlines()]
                output = f"{len(children)} children"
            if command[1] == "list":
                assert all(child in output for child in children)
                output = ""
            steady = re.sub(r'"idle_seconds":[^,]*|idle +[0-9.]+ s', "", output)
            outputs.append(steady.replace(name, "name"))
            assert file.exists() == (len(outputs) > 8) and not file.with_suffix(".part").exists()
        for child in children:
            assert finish(start(program, "sessions", "delete", child))[0] == 0
        scripts.append(outputs)
    assert scripts[0] == scripts[1]
    for program in (PYTHON, TOOL):
        assert finish(start(program, "sessions", "show", "mine"))[0] == 3
        assert finish(start(program, "sessions", "export", "mine", tmp_path / "none"))[0] == 3
        assert finish(start(program, "sessions", "import", tmp_path / "none"))[0] == 2


def shell(program: list[str], redirection: str, *words: object) -> tuple[int, str, str]:
    command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *program]
    return finish(start(command, *words))


@pytest.mark.parametrize("words", [("models",), ("tokenize", "a"), ("generate", "Once", "-n", 2), ("score", "a b")])
def test_output_that_is_lost_is_told(words: tuple[object, ...]) -> None:
    for redirection, reason in ((">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")):
        for program in (PYTHON, TOOL):
            code, _, errors = shell(program, redirection, *words)
            assert (code, f": standard output: {reason}" in errors) == (1, True), errors
    assert shell(PYTHON, ">/dev/null", *words)[0] == 0


def test_an_export_goes_where_it_was_sent(tmp_path: Path) -> None:
    full = full_device(tmp_path)
    for program in (PYTHON, TOOL):
        name = f"story{len(program)}"
        assert finish(start(program, "sessions", "create", name))[0] == 0
        assert finish(start(program, "sessions", "export", name, tmp_path / "whole"))[0] == 0
        link = tmp_path / f"link{len(program)}"
        link.symlink_to(tmp_path / "target")
        for target in (link, "/dev/stdout", "-"):
            code, output, errors = finish(start(program, "sessions", "export", name, target))
            assert code == 0, errors
        assert link.is_symlink() and link.read_bytes() == (tmp_path / "whole").read_bytes()
        code, _, errors = finish(start(program, "sessions", "export", name, full))
        assert (code, f"{full}: No space left on device" in errors) == (1, True), errors
        code, _, errors = finish(start(program, "sessions", "export", name, tmp_path))
        assert code == 2 and str(tmp_path) in errors
        with open(tmp_path / "whole") as blob:
            assert finish(start(program, "sessions", "import", "-", stdin=blob.fileno()))[0] == 0
    assert not list(tmp_path.glob("*.part"))


def test_texts_may_look_like_options_and_numbers_have_no_sign() -> None:
    for text in ("--help", "--seed", "-n", "--"):
        one, other = both("tokenize", "--json", "--", text)
        assert json.loads(one) == json.loads(other) and json.loads(one)["token_ids"]
    for option in ("--seed", "--top-k", "--mark", "--allow-token"):
        for program in (PYTHON, TOOL):
            code, output, errors = finish(start(program, "generate", "Once", option, -1))
            assert (code, output, option in errors) == (2, "", True), errors


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMA_SERVER", "")
    monkeypatch.setenv("FMA_TOKEN", "")
    for program in (PYTHON, TOOL):
        assert "localhost:50051" in finish(start(program, "generate", "--help"))[1] or program is PYTHON
        code, _, errors = finish(start(program, "models"))
        assert code == 0 or "localhost:50051" in errors
