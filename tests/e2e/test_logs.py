"""What a running server logs."""

from __future__ import annotations

import fcntl
import json
import re
import signal
import subprocess

from programs import BIN, DEMO_MODEL, port_in
from service import Service, eventually


def test_a_call_is_one_line_of_text() -> None:
    with Service() as server:
        assert server.run("generate", "very private words", "--max-tokens", 7, "--ignore-eos")[0] == 0
        assert eventually(lambda: "method=Generate" in server.log())
        lines = [line for line in server.log().splitlines() if "method=Generate" in line]
        assert len(lines) == 1
        kind = "method=Generate model=fma-books-11m tenant=default"
        assert re.search(rf" call request=\S+ {kind} peer=\S+ code=OK ", lines[0])
        assert " generated_tokens=7 " in lines[0]
        assert "private" not in server.log()


def test_json_lines() -> None:
    with Service("--log-format", "json", "--log-prompts") as server:
        assert server.run("generate", "some \"quoted\" words", "--max-tokens", 7, "--ignore-eos")[0] == 0
        assert server.run("generate", "x", "--top-p", 7)[0] == 3
        assert eventually(lambda: server.log().count('"Generate"') == 2)
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log().splitlines()]
        assert all(line["time"].endswith("Z") and line["level"] for line in lines)
        good, bad = (line for line in lines if line.get("method") == "Generate")
        assert good["prompt"] == 'some "quoted" words'
        assert (good["code"], good["generated_tokens"]) == ("OK", 7)
        assert good["decode_seconds"] > 0 and good["seconds"] >= good["decode_seconds"]
        assert good["model"] == bad["model"] == DEMO_MODEL.name
        assert bad["code"] == "INVALID_ARGUMENT" and "top_p" in bad["error"]
        assert lines[-1]["message"] == "stopped"


def test_the_level_changes_while_the_server_runs() -> None:
    with Service() as server:
        server.signal(signal.SIGUSR2)
        assert eventually(lambda: "log level warning" in server.log())
        assert server.run("models")[0] == 0
        assert eventually(lambda: server.sum("fma_calls_total") == 1)  # a call ends after its client has the answer
        server.signal(signal.SIGUSR1)
        assert eventually(lambda: "log level info" in server.log())
        assert server.run("models")[0] == 0
        assert eventually(lambda: server.log().count("method=ListModels") == 1)


def test_a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end() -> None:
    command = [BIN / "fma-server", "--model", DEMO_MODEL, "--listen", "127.0.0.1:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pipe_bytes = fcntl.fcntl(server.stdout, fcntl.F_SETPIPE_SZ, 4096)
        lines = iter(server.stdout.readline, "")
        port = port_in(lines)
        tokenize = [BIN / "fma", "tokenize", "words", "--server", f"127.0.0.1:{port}"]
        for _ in range(pipe_bytes // 100):  # a line has more than 100 characters
            assert subprocess.run(tokenize, stdout=subprocess.DEVNULL, check=False).returncode == 0
        server.terminate()
        assert server.wait(timeout=60) == 0
