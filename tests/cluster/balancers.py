"""The real Envoy, HAProxy and vllm-router, with the files of deploy/, before servers of this machine."""

from __future__ import annotations

import csv
import http.client
import json
import os
import re
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import quote

import pytest
import yaml
from doors import GRPC, HTTP, Door
from programs import ROOT, free_port
from service import Service, eventually

DEPLOY = ROOT / "deploy"
ENVOY = ROOT / "build" / "envoy" / "bin" / "envoy"  # scripts/balancers installs it
HAPROXY = Path("/usr/sbin/haproxy")
VLLM_ROUTER = ROOT / "build" / "vllm-router" / "bin"  # likewise


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """`text` with each (old, new) done once; every `old` is there exactly once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


class Balancer(Protocol):
    """A load balancer that runs."""

    door: ClassVar[Door]  #: of the replicas
    address: str

    def add(self, replica: Service) -> None:
        """Returns when the balancer knows the replica and finds it healthy."""

    def remove(self, replica: Service) -> None:
        """The replica gets no new calls, though it runs on."""

    def stop(self) -> None: ...


class Process:
    def __init__(self, folder: Path, *command: object, env: Mapping[str, str] | None = None) -> None:
        self._log = folder / "balancer.log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log, env=env)

    def until(self, ready: Callable[[], bool]) -> None:
        done = eventually(lambda: self.process.poll() is not None or ready())
        if not done or self.process.poll() is not None:
            self.process.kill()
            self.process.wait()
            pytest.fail(self._log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)


class Envoy:
    """deploy/envoy/envoy.yaml; replicas are added and removed by its file of replicas."""

    door = GRPC

    def __init__(self, folder: Path, replicas: list[Service]) -> None:
        port, self._admin = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        self._file = folder / "replicas.yaml"
        self._replicas = list(replicas)
        self._write()
        config = folder / "envoy.yaml"
        config.write_text(
            replaced(
                (DEPLOY / "envoy" / "envoy.yaml").read_text(),
                ("address: 0.0.0.0, port_value: 50051", f"address: 127.0.0.1, port_value: {port}"),
                ("port_value: 9901", f"port_value: {self._admin}"),
                ("path: /etc/envoy/replicas.yaml", f"path: {self._file}"),
            )
        )
        self._process = Process(folder, ENVOY, "-c", config, "--base-id", port, "--concurrency", 1)
        self._process.until(lambda: all(self._healthy(replica) for replica in replicas))

    def add(self, replica: Service) -> None:
        self._replicas.append(replica)
        self._write()
        self._process.until(lambda: self._healthy(replica))

    def remove(self, replica: Service) -> None:
        self._replicas.remove(replica)
        self._write()
        self._process.until(lambda: f"::{replica.address}::" not in self._clusters())

    def stop(self) -> None:
        self._process.stop()

    def _write(self) -> None:
        document = yaml.safe_load((DEPLOY / "envoy" / "replicas.yaml").read_text())
        document["resources"][0]["endpoints"][0]["lb_endpoints"] = [
            {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": replica.grpc_port}}}}
            for replica in self._replicas
        ]
        new = self._file.with_suffix(".new")
        new.write_text(yaml.safe_dump(document))
        new.rename(self._file)

    def _healthy(self, replica: Service) -> bool:
        return f"fma::{replica.address}::health_flags::healthy\n" in self._clusters()

    def _clusters(self) -> str:
        try:
            with socket.create_connection(("127.0.0.1", self._admin), timeout=5) as connection:
                connection.sendall(b"GET /clusters HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return read_all(connection)
        except OSError:
            return ""


class HAProxy:
    """deploy/haproxy/haproxy.cfg; replicas are added and removed on its socket."""

    door = GRPC

    def __init__(self, folder: Path, replicas: list[Service]) -> None:
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._socket = folder / "admin.sock"
        text = (DEPLOY / "haproxy" / "haproxy.cfg").read_text()
        lines = "".join(f"    server {self._server(replica)}\n" for replica in replicas)
        text, count = re.subn(r"(?:^    server .*\n)+", lines, text, flags=re.M)
        assert count == 1
        (options,) = re.findall(r"^    default-server (.*)$", text, re.M)
        self._options = options
        config = folder / "haproxy.cfg"
        config.write_text(replaced(text, ("bind :50051", f"bind 127.0.0.1:{port}"),
                                   ("/run/haproxy/admin.sock", str(self._socket))))  # fmt: skip
        self._process = Process(folder, HAPROXY, "-db", "-f", config)
        self._process.until(lambda: all(self._up(replica) for replica in replicas))

    def add(self, replica: Service) -> None:
        # A server that is added at run time has none of the options of default-server.
        self._tell(f"add server fma/{self._server(replica)} {self._options}")
        self._tell(f"enable server fma/r{replica.grpc_port}")
        self._tell(f"enable health fma/r{replica.grpc_port}")
        self._process.until(lambda: self._up(replica))

    def remove(self, replica: Service) -> None:
        self._tell(f"set server fma/r{replica.grpc_port} state drain")

    def stop(self) -> None:
        self._process.stop()

    @staticmethod
    def _server(replica: Service) -> str:
        return f"r{replica.grpc_port} {replica.address} check port {replica.http_port}"

    def _up(self, replica: Service) -> bool:
        # It counts as up before its first check, too.
        return self._field(replica, "status") == "UP" and self._field(replica, "check_status") == "L7OK"

    def _field(self, replica: Service, name: str) -> str:
        rows = csv.DictReader(self._tell("show stat fma 4 -1").removeprefix("# ").splitlines())
        return next((row[name] for row in rows if row["svname"] == f"r{replica.grpc_port}"), "")

    def _tell(self, command: str) -> str:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self._socket))
                connection.sendall(command.encode() + b"\n")
                return read_all(connection)
        except OSError:
            return ""


class VllmRouter:
    """deploy/vllm-router/run; replicas are added and removed by requests."""

    door = HTTP

    def __init__(self, folder: Path, replicas: list[Service]) -> None:
        port, metrics = free_port(), free_port()
        self.address = f"127.0.0.1:{port}"
        command = [DEPLOY / "vllm-router" / "run", "--host", "127.0.0.1", "--port", port, "--prometheus-port", metrics]
        command += ["--worker-urls", *map(self._url, replicas)]
        path = f"{VLLM_ROUTER}:{os.environ['PATH']}"
        self._process = Process(folder, *command, env={**os.environ, "PATH": path})
        self._process.until(lambda: all(self._healthy(replica) for replica in replicas))

    def add(self, replica: Service) -> None:
        assert self._ask("POST", f"/add_worker?url={quote(self._url(replica))}")[0] == 200
        self._process.until(lambda: self._healthy(replica))

    def remove(self, replica: Service) -> None:
        assert self._ask("POST", f"/remove_worker?url={quote(self._url(replica))}")[0] == 200

    def stop(self) -> None:
        self._process.stop()

    @staticmethod
    def _url(replica: Service) -> str:
        return f"http://{HTTP.address(replica)}"

    def _healthy(self, replica: Service) -> bool:
        try:
            workers = json.loads(self._ask("GET", "/workers")[1])["workers"]
        except (OSError, ValueError):
            return False
        return any(worker["url"] == self._url(replica) and worker["is_healthy"] for worker in workers)

    def _ask(self, method: str, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()


def read_all(connection: socket.socket) -> str:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts).decode()
