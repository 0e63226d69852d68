"""Several models in one fma-server: names, sessions, metrics, and models that come and go."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from namespaces import with_memory_limit
from programs import BIN, DEMO_MODEL, GOLDEN, ROOT, run
from service import Service
from test_http import write_large_model

AVERAGE, SINKS = GOLDEN / "average", GOLDEN / "sinks_level_bias"
IDS = ("--token-ids", "[1, 2, 3]", "--max-tokens", 4, "--ignore-eos", "--temperature", 0)


def admin_file(folder: Path, token: str) -> Path:
    file = folder / "admins"
    file.write_text(f"root {hashlib.sha256(token.encode()).hexdigest()}\n")
    return file


def fma(server: Service, *words: object, token: str = "") -> subprocess.CompletedProcess[str]:
    command = [BIN / "fma", *words, "--server", server.address]
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "FMA_TOKEN": token},
    )


def test_each_model_answers_and_has_its_series(tmp_path: Path) -> None:
    with Service("--model", f"other={SINKS}", model=AVERAGE) as server:
        assert "average" in run(BIN / "fma", "models", "--server", server.address)
        first = fma(server, "generate", *IDS)
        other = fma(server, "generate", *IDS, "--model", "other")
        assert first.returncode == 0 and other.returncode == 0
        assert first.stdout == fma(server, "generate", *IDS, "--model", "average").stdout
        unknown = fma(server, "generate", *IDS, "--model", "no")
        assert unknown.returncode == 3
        assert 'model is "no"; allowed: average, other' in unknown.stderr

        page = server.get("/metrics")[1]
        assert page.count("# TYPE fma_requests_running gauge") == 1, "a family is on the page once"
        series = server.scrape()
        for name, calls in (("average", 2), ("other", 1)):
            assert series[f'fma_requests_finished_total{{model_name="{name}",reason="length"}}'] == calls
        (tmp_path / "page").write_text(page)
        with open(tmp_path / "page") as file:
            subprocess.run(["promtool", "check", "metrics"], stdin=file, check=True)


def test_the_makers_of_a_model_say_how_its_tokens_are_chosen(tmp_path: Path) -> None:
    folder = tmp_path / "greedy"
    shutil.copytree(SINKS, folder)
    (folder / "generation_config.json").write_text('{"do_sample": true, "temperature": 0, "top_k": 7}')
    words = ("generate", "--token-ids", "[1, 2, 3]", "--max-tokens", 20, "--ignore-eos", "--json")
    with Service(model=folder) as server:
        assert "temperature 0, top_k 7, top_p 1," in run(BIN / "fma", "models", "--server", server.address)

        def tokens(*options: object) -> set[str]:
            runs = [fma(server, *words, "--seed", seed, *options).stdout for seed in range(3)]
            events = [[json.loads(line) for line in output.splitlines()] for output in runs]
            return {str([token for event in run for token in event.get("token_ids", ())]) for run in events}

        assert len(tokens()) == 1, "greedy, as the model says"
        assert len(tokens("--temperature", 2, "--top-k", 0)) == 3, "a request has the last word"


def test_a_folder_in_latin1_has_a_name_that_every_page_can_show(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/b\xfccher"
    shutil.copytree(os.fsencode(AVERAGE), folder)
    with Service(model=Path(os.fsdecode(folder))) as server:
        assert "b_cher" in run(BIN / "fma", "models", "--server", server.address)
        assert server.scrape()['fma_slots{model_name="b_cher"}'] > 0


def test_a_model_has_one_name_and_answers_to_all_of_them() -> None:
    names = ("--model-name", "books", "--model-name", "gpt-3.5", "--model-name", "org/books:11m")
    with Service(*names, "--model", f"other={SINKS}", model=AVERAGE) as server:
        lines = fma(server, "models", "--json").stdout.splitlines()
        shown = [json.loads(line) for line in lines]
        assert [(model["name"], model["aliases"]) for model in shown] == [
            ("books", ["gpt-3.5", "org/books:11m"]),
            ("other", []),
        ]
        assert "also called       gpt-3.5, org/books:11m" in fma(server, "models").stdout
        expected = fma(server, "generate", *IDS).stdout
        for name in ("books", "gpt-3.5", "org/books:11m"):
            assert fma(server, "generate", *IDS, "--model", name).stdout == expected
            assert fma(server, "sessions", "list", "--model", name).returncode == 0
        assert server.scrape()['fma_requests_finished_total{model_name="books",reason="length"}'] == 4
        unknown = fma(server, "generate", *IDS, "--model", "average")
        assert unknown.returncode == 3 and "gpt-3.5" in unknown.stderr
    with Service("--model-name", "alias", model=f"own={AVERAGE}") as server:
        assert "also called       alias" in fma(server, "models").stdout


def refused(*flags: object) -> str:
    command = [BIN / "fma-server", *(str(flag) for flag in flags)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    return done.stdout


def test_names_that_cannot_be_are_refused() -> None:
    assert 'model-name is "a b"' in refused("--model", AVERAGE, "--model-name", "a", "--model-name", "a b")
    assert 'name is "a/b"' in refused("--model", AVERAGE, "--model-name", "a/b")
    twice = refused("--model", AVERAGE, "--model-name", "a", "--model-name", "b", "--model", f"b={SINKS}")
    assert 'model is "b"; allowed: a name that is not taken; served: a, b' in twice


FILES = ("model.safetensors", "config.json", "tokenizer.model", "model.safetensors.index.json")


@pytest.mark.parametrize("name", FILES)
def test_a_git_lfs_pointer_is_called_one(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(DEMO_MODEL, folder)
    if name.endswith(".index.json"):
        (folder / "model.safetensors").unlink()
    (folder / name).write_text(
        "version https://git-lfs.github.com/spec/v1\n"
        "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 44040192\n"
    )
    message = f"{folder / name} is a git-lfs pointer; allowed: the file that it stands for; `git lfs pull` fetches it"
    assert message in refused("--model", folder)


def test_what_the_memory_does_not_hold_is_refused_or_warned_of(tmp_path: Path) -> None:
    small = with_memory_limit(tmp_path, 100 << 20)
    command = [*small, str(BIN / "fma-server"), "--listen", "127.0.0.1:0", "--model"]
    done = subprocess.run([*command, str(DEMO_MODEL)], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1, done.stdout
    assert 'memory of model "fma-books-11m" is ' in done.stdout
    for part in ("weights ", "slots 135.0 MiB", "of the 100.0 MiB that the control group"):
        assert part in done.stdout

    admins = ("--admin-token-file", admin_file(tmp_path, "secret"), "--slots", 2)
    with Service(*admins, model=AVERAGE, before=small) as server:
        assert "warning memory: up to " in server.log() and "--session-memory 1024.0 MiB" in server.log()
        loaded = fma(server, "admin", "load", SINKS, "--name", "more", token="secret")
        assert loaded.returncode == 0, loaded.stderr
        write_large_model(tmp_path, vocab=1 << 20)
        large = fma(server, "admin", "load", tmp_path, "--name", "large", token="secret")
        assert large.returncode == 3 and 'memory of model "large" is' in large.stderr
        assert "RESOURCE_EXHAUSTED" in large.stderr
        assert fma(server, "generate", *IDS).returncode == 0

    modest = ("--slots", 2, "--session-memory", "1M", "--prefix-cache-memory", 0, "--max-request-bytes", "1M")
    with Service(*modest, model=AVERAGE, before=with_memory_limit(tmp_path / "roomy", 1 << 30)) as server:
        assert "memory:" not in server.log()


@pytest.mark.parametrize(("kind", "slot_bytes"), [("f32", 2_211_840), ("bf16", 1_277_952), ("int8", 825_600)])
def test_a_slot_of_the_bundled_model_has_its_documented_size(kind: str, slot_bytes: int) -> None:
    assert f"{slot_bytes:,} bytes" in (ROOT / "docs" / "operations.md").read_text()
    with Service("--cache-dtype", kind, "--slots", 2) as server:
        shown = json.loads(fma(server, "models", "--json").stdout)
        assert shown["slot_bytes"] == slot_bytes
        assert server.sum("fma_state_bytes") == 2 * slot_bytes


def test_slots_that_nobody_used_take_no_memory() -> None:
    with Service("--slots", 400) as server:
        for _ in range(3):
            assert server.run("generate", "x", "--max-tokens", 3)[0] == 0
        assert server.sum("process_resident_memory_bytes") < server.sum("fma_state_bytes") / 2


def test_sessions_of_each_model_outlive_the_server(tmp_path: Path) -> None:
    flags = ("--model", f"other={SINKS}", "--session-dir", tmp_path)
    with Service(*flags, model=AVERAGE) as server:
        for model in ("average", "other"):
            assert fma(server, "sessions", "create", f"of_{model}", "--model", model).returncode == 0
        assert server.stop() == 0
    assert (tmp_path / "default" / "of_average.session").exists(), "where earlier releases look for it"
    assert (tmp_path / ".models" / "other" / "default" / "of_other.session").exists()
    with Service(*flags, model=AVERAGE) as server:
        assert fma(server, "sessions", "list").stdout.split()[0] == "of_average"
        assert fma(server, "sessions", "list", "--model", "other").stdout.split()[0] == "of_other"
        assert server.stop() == 0
    with Service("--session-dir", tmp_path, model=AVERAGE) as server:
        assert fma(server, "sessions", "list").stdout.split()[0] == "of_average", "the other's are left alone"


def test_models_come_and_go_and_leave_no_memory_behind(tmp_path: Path) -> None:
    flags = ("--admin-token-file", admin_file(tmp_path, "secret"), "--slots", 16)
    with Service(*flags, model=AVERAGE) as server:
        refused = fma(server, "admin", "load", SINKS, token="wrong")
        assert refused.returncode == 3 and "token" in refused.stderr
        missing = fma(server, "admin", "load", tmp_path / "nowhere", token="secret")
        assert missing.returncode == 3 and "nowhere" in missing.stderr

        def cycle() -> float:
            loaded = fma(server, "admin", "load", SINKS, "--name", "more", token="secret")
            assert loaded.returncode == 0, loaded.stderr
            assert fma(server, "generate", *IDS, "--model", "more").returncode == 0
            assert any('model_name="more"' in name for name in server.scrape())
            assert fma(server, "admin", "unload", "more", "--grace", 0, token="secret").returncode == 0
            series = server.scrape()
            assert not any('model_name="more"' in name for name in series)
            return series["process_resident_memory_bytes"]

        before = [cycle() for _ in range(3)][-1]
        after = [cycle() for _ in range(10)][-1]
        assert after < before + (16 << 20), "ten more models have left nothing behind"
        assert server.stop() == 0
