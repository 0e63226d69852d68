"""The real Prometheus, with the files of docker/, scrapes a real server under load: every rule and alert can be
evaluated, and every query of the dashboards returns data."""

from __future__ import annotations

import json
import math
import re
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import BIN, GOLDEN, ROOT, run, start

FILES = ROOT / "docker" / "prometheus"
DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))
# Scrapes are a second apart here; a rate needs two.
VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$instance": ".*", "$model": ".*"}


def test_the_files_are_right() -> None:
    run("promtool", "check", "config", FILES / "prometheus.yml")
    run("promtool", "test", "rules", FILES / "alerts_test.yml")


def put_load(server: str, stop: threading.Event) -> None:
    """Requests of every kind until `stop`, some of them refused."""

    def fma(*words: object) -> None:
        subprocess.run([str(word) for word in (BIN / "fma", *words, "--server", server)], capture_output=True)

    def generate(prompt: int, *words: object) -> None:
        fma("generate", "--token-ids", json.dumps([1 + i % 50 for i in range(prompt)]), "--ignore-eos", *words)

    while not stop.wait(0.1):
        generate(8, "-n", 64)
        generate(1500, "-n", 16)
        generate(8, "--temperature", -1)
        for session in ("a", "b"):
            generate(4, "-n", 8, "--session", session)
        fma("sessions", "rewind", "a", 4)
        fma("sessions", "delete", "c")
        fma("sessions", "fork", "b", "c")


class Prometheus:
    """A running one, at `address`."""

    def __init__(self, address: str) -> None:
        self._address = address

    def get(self, path: str, **arguments: str) -> dict | list:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def has_data(self, expression: str) -> bool:
        """Whether at least one series has a number."""
        result = self.get("query", query=expression)["result"]
        return any(math.isfinite(float(series["value"][1])) for series in result)


@contextmanager
def start_prometheus(metrics: str, folder: Path) -> Iterator[Prometheus]:
    """One that scrapes `metrics` every second, and is otherwise configured as docker/prometheus says."""
    for file in ("rules.yml", "alerts.yml"):
        (folder / file).write_text((FILES / file).read_text())
    config = (FILES / "prometheus.yml").read_text()
    for old, new in (("fma-server:8080", metrics), ("scrape_interval: 5s", "scrape_interval: 1s"),
                     ("evaluation_interval: 15s", "evaluation_interval: 1s")):  # fmt: skip
        assert config.count(old) == 1
        config = config.replace(old, new)
    (folder / "prometheus.yml").write_text(config)
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
               "--web.listen-address=127.0.0.1:0"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if found := re.search(r'"Listening on" address=(\S+)', line):
                    break
            else:
                pytest.fail("prometheus ended before it listened")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Prometheus(found.group(1))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """It scrapes a server under load. States of sessions do not fit into memory, so turns restore them."""
    sessions = tmp_path_factory.mktemp("sessions")
    flags = ("--http", "127.0.0.1:0", "--session-dir", sessions, "--session-memory", 1, "--threads", 1)
    with start(GOLDEN / "sinks_level_bias", *flags) as server:
        stop = threading.Event()
        load = threading.Thread(target=put_load, args=(server.address, stop))
        load.start()
        try:
            with start_prometheus(server.http, tmp_path_factory.mktemp("prometheus")) as found:
                yield found
        finally:
            stop.set()
            load.join()


def eventually(holds: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether holds() comes true in time: the first rates need some scrapes."""
    end = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(1)
    return found


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(where, expression) of every panel and variable."""
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                assert "$" not in expression, expression
                yield f"{panel['title']} {target['refId']}", expression
        for variable in dashboard["templating"]["list"]:
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
            yield f"variable {variable['name']}", f'count by ({label}) ({metric}{{{label}!=""}})'


QUERIES = list(dashboard_queries())


@pytest.mark.parametrize(("where", "expression"), QUERIES, ids=[where for where, _ in QUERIES])
def test_every_query_of_the_dashboards_returns_data(prometheus: Prometheus, where: str, expression: str) -> None:
    assert eventually(lambda: prometheus.has_data(expression)), expression


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    def rules() -> list[dict]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert eventually(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert [rule["name"] for rule in rules() if rule["health"] != "ok"] == []
    for rule in rules():
        if rule["type"] == "recording":
            assert eventually(lambda name=rule["name"]: prometheus.has_data(name)), rule["name"]


ALERT_METRICS = sorted(set(re.findall(r"(?<![:\w])(?:fma|process)_\w+", (FILES / "alerts.yml").read_text())))


@pytest.mark.parametrize("metric", ALERT_METRICS)
def test_alerts_name_metrics_that_there_are(prometheus: Prometheus, metric: str) -> None:
    assert eventually(lambda: prometheus.has_data(f"count({metric})")), metric
