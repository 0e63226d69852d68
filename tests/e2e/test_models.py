"""Several models in one fma-server: names, sessions, metrics, and models that come and go."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from programs import BIN, GOLDEN, run
from service import Service

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


def test_a_folder_in_latin1_has_a_name_that_every_page_can_show(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/b\xfccher"
    shutil.copytree(os.fsencode(AVERAGE), folder)
    with Service(model=Path(os.fsdecode(folder))) as server:
        assert "b_cher" in run(BIN / "fma", "models", "--server", server.address)
        assert server.scrape()['fma_slots{model_name="b_cher"}'] > 0


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
