"""The files of docker/ agree with each other and with the programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from programs import BIN, ROOT, run

DOCKER = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
UNIT = (DOCKER / "fma-server.service").read_text()
IMAGE_ENVIRONMENT = dict(re.findall(r"\b(FMA_\w+)=(\S+)", DOCKERFILE))


def container_ports(service: str) -> set[str]:
    return {mapping.rsplit(":", 1)[1] for mapping in SERVICES[service]["ports"]}


def mounts(service: str) -> dict[str, str]:
    """What is mounted, by the path in the container."""
    return {words[1]: words[0] for words in (volume.split(":") for volume in SERVICES[service]["volumes"])}


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    installed = "ExecStart=fma-server\n"  # in /usr/local/bin or in /usr/bin
    assert installed in UNIT
    unit = tmp_path / "fma-server.service"
    unit.write_text(UNIT.replace(installed, f"ExecStart={BIN}/fma-server\n"))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # systemd ignores settings that it does not know, and says so.
    assert (done.returncode, "fma-server.service" in done.stderr) == (0, False), done.stderr


def test_every_variable_is_one_that_a_program_reads() -> None:
    known = set(re.findall(r"\(Env:(\w+)\)", run(BIN / "fma-server", "--help"))) | {"FMA_CUDA_LIBRARY"}
    variables = re.findall(r"\bFMA_[A-Z_]+\b", DOCKERFILE + UNIT + (DOCKER / "compose.yaml").read_text())
    assert set(variables) - {"FMA_TESTS"} <= known  # FMA_TESTS is the build's
    assert "FMA_MODEL" in variables


def test_drains_end_before_patience_does() -> None:
    config = run(BIN / "fma-server", "--model", "m", "--print-config")
    found = re.search(r"^drain-seconds=([\d.]+)$", config, re.M)
    assert found is not None, config
    (patience,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.M)
    assert float(patience) > float(found[1])
    assert float(SERVICES["fma-server"]["stop_grace_period"].removesuffix("s")) > float(found[1])


def test_ports_of_image_compose_and_prometheus_are_the_same() -> None:
    listened = {IMAGE_ENVIRONMENT[name].rsplit(":", 1)[1] for name in ("FMA_LISTEN", "FMA_HTTP")}
    (exposed,) = re.findall(r"^EXPOSE (.*)$", DOCKERFILE, re.M)
    assert container_ports("fma-server") == set(exposed.split()) == listened
    scraped = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    sources = yaml.safe_load((DOCKER / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    targets = [target for job in scraped for config in job["static_configs"] for target in config["targets"]]
    targets += [source["url"].removeprefix("http://") for source in sources["datasources"]]
    assert len(targets) == 2
    for target in targets:
        service, port = target.split(":")
        assert port in container_ports(service), target


def test_the_image_gets_all_that_its_build_needs(tmp_path: Path) -> None:
    """CMake takes what .dockerignore lets in; that it also compiles takes an image: make image-test."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for path in kept:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-r", ROOT / path, tmp_path / path)
    command = ["cmake", "--preset", "release", "-DFMA_TESTS=OFF"]
    assert f"RUN {' '.join(command)} " in DOCKERFILE
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_compose_mounts_is_there() -> None:
    build = SERVICES["fma-server"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).samefile(DOCKER / "Dockerfile")
    assert re.search(rf"^FROM \S+ AS {build['target']}$", DOCKERFILE, re.M)
    for service in SERVICES:
        for source in mounts(service).values():
            assert (DOCKER / source).is_dir() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_paths_in_the_containers_lie_in_what_is_mounted() -> None:
    server, grafana = SERVICES["fma-server"]["environment"], SERVICES["grafana"]["environment"]
    models = mounts("fma-server")["/models"]
    assert (DOCKER / models / server["FMA_MODEL"].removeprefix("/models/") / "config.json").is_file()
    assert server["FMA_SESSION_DIR"] in mounts("fma-server")
    # A new volume gets the owner of the image's folder.
    assert re.search(rf"install -d -o fma .*{server['FMA_SESSION_DIR']}$", DOCKERFILE, re.M)
    home = grafana["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    providers = yaml.safe_load((DOCKER / "grafana/provisioning/dashboards/dashboards.yaml").read_text())["providers"]
    folder = providers[0]["options"]["path"]
    assert home.startswith(folder + "/")
    assert (DOCKER / mounts("grafana")[folder] / home.removeprefix(folder + "/")).is_file()
