"""The real Prometheus, with the files of docker/, scrapes a real server under load: it can evaluate every rule and
alert, and every query of the dashboards returns data."""

from __future__ import annotations

import json
import math
import re
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from programs import GOLDEN, ROOT, free_port, run
from redis_server import redis
from service import Service, eventually

FILES = ROOT / "docker" / "prometheus"
DASHBOARDS = sorted((ROOT / "docker" / "grafana" / "dashboards").glob("*.json"))
# Scrapes are a second apart here; a rate needs two of them.
VARIABLES = {"$__rate_interval": "30s", "$__range": "5m", "$instance": ".*"}
# What a dashboard shows of one model must not hide, or be made of, another one's.
MODELS = ("sinks_level_bias", "second")


def test_the_files_are_right() -> None:
    run("promtool", "check", "config", FILES / "prometheus.yml")
    run("promtool", "test", "rules", FILES / "alerts_test.yml")


def test_the_table_of_alerts_is_whole() -> None:
    written = re.findall(r"^\| `(Fma\w+)` \|", (ROOT / "docs" / "deployment.md").read_text(), re.M)
    assert written == re.findall(r"- alert: (\w+)", (FILES / "alerts.yml").read_text())


def put_load(server: Service, stop: threading.Event) -> None:
    """Requests of every kind to every model until `stop`, some of them refused."""

    def generate(model: str, prompt: int, *words: object) -> None:
        tokens = json.dumps([1 + i % 50 for i in range(prompt)])
        server.run("generate", "--model", model, "--token-ids", tokens, "--ignore-eos", *words)

    def sessions(model: str, *words: object) -> None:
        server.run("sessions", *words, "--model", model)

    for model in MODELS:
        for session in ("a", "b"):
            sessions(model, "create", session)
    while not stop.wait(0.1):
        for model in MODELS:
            generate(model, 8, "-n", 64)
            generate(model, 1500, "-n", 16)
            generate(model, 8, "--temperature", -1)
            for session in ("a", "b"):
                generate(model, 4, "-n", 8, "--session", session)
            sessions(model, "rewind", "a", 4)
            sessions(model, "delete", "c")
            sessions(model, "fork", "b", "c")


class Prometheus:
    """A running Prometheus at `address`."""

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
    """A Prometheus that scrapes `metrics` every second, and is otherwise configured as in docker/prometheus."""
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
        address = ""
        try:
            for line in process.stderr:
                if found := re.search(r'"Listening on" address=(\S+)', line):
                    address = found.group(1)
                if "Server is ready" in line:
                    break
            else:
                pytest.fail("prometheus ended before it listened")
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield Prometheus(address)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus scrapes a server of two models under load. Sessions' states do not fit into memory, so turns restore
    them from the store. Traces go where nobody is."""
    flags = ("--session-memory", 1, "--threads", 1, "--otlp-endpoint", f"http://127.0.0.1:{free_port()}")
    first, second = MODELS
    flags += ("--model", f"{second}={GOLDEN / 'average'}")
    with (
        redis(tmp_path_factory.mktemp("store")) as store,
        Service(*flags, "--session-store", store.url, model=GOLDEN / first) as server,
    ):
        stop = threading.Event()
        load = threading.Thread(target=put_load, args=(server, stop))
        load.start()
        try:
            with start_prometheus(f"127.0.0.1:{server.http_port}", tmp_path_factory.mktemp("prometheus")) as found:
                yield found
        finally:
            stop.set()
            load.join()
        assert server.stop() == 0


def dashboard_queries() -> Iterator[tuple[str, str]]:
    """(where, expression) of every panel, for each model, and of every variable."""
    for file in DASHBOARDS:
        dashboard = json.loads(file.read_text())
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                expression = target["expr"]
                for variable, value in VARIABLES.items():
                    expression = expression.replace(variable, value)
                for model in MODELS if "$model" in expression else ("",):
                    of_model = expression.replace("$model", model)
                    assert "$" not in of_model, of_model
                    yield f"{panel['title']} {target['refId']} {model}", of_model
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


WITH_TLS_ALONE = {"fma_tls_certificate_expiry_timestamp_seconds"}  # test_certificates.py
ALERT_METRICS = sorted(
    set(re.findall(r"(?<![:\w])(?:fma|process)_\w+", (FILES / "alerts.yml").read_text())) - WITH_TLS_ALONE
)


@pytest.mark.parametrize("metric", ALERT_METRICS)
def test_alerts_name_metrics_that_there_are(prometheus: Prometheus, metric: str) -> None:
    assert eventually(lambda: prometheus.has_data(f"count({metric})")), metric
