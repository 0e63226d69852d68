"""The server of a soak: its process, its files, and what it takes."""

from __future__ import annotations

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from programs import ROOT
from renewals import Files
from service import Service

TOKEN = "soak"
MEBIBYTE = 1 << 20
MAX_REQUEST_BYTES = 8 * MEBIBYTE
CACHES = {"--prefix-cache-memory": 64 * MEBIBYTE, "--session-memory": 128 * MEBIBYTE}
SLOTS, SLOT_BYTES = 8, 3 * MEBIBYTE  # at most, of the bundled model
PROTOS = ("fma/v1/generation.proto", "fma/v1/sessions.proto")


def make_stubs(folder: Path) -> None:
    """The Python code of the API, made from its definition, for `import fma.v1`."""
    command = ["protoc", f"-I{ROOT / 'proto'}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    plugin = "--plugin=protoc-gen-grpc_python=/usr/bin/grpc_python_plugin"
    subprocess.run([*command, plugin, *(ROOT / "proto" / name for name in PROTOS)], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, which can be filled up; needs root."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Server:
    """fma-server with TLS, tokens, saved sessions and limits that a soak can reach."""

    def __init__(self, folder: Path, sessions: Path):
        self.certificates = Files(folder)
        self.sessions = sessions
        self.tokens = folder / "tokens"
        digest = subprocess.run(["sha256sum"], input=TOKEN, capture_output=True, text=True, check=True).stdout
        self.tokens.write_text(f"alice {digest.split()[0]}\n")
        self._authority = self.certificates.authority.cert.read_bytes()
        self.service = self.start()

    def start(self) -> Service:
        flags: list[object] = [*self.certificates.flags, "--tokens", self.tokens, "--session-dir", self.sessions]
        flags += ["--slots", SLOTS, "--max-queue", 16, "--max-request-bytes", MAX_REQUEST_BYTES]
        flags += ["--max-connections", 200, "--max-connections-per-address", 150, "--max-connection-idle", 20]
        self.service = Service(*flags, *(word for pair in CACHES.items() for word in pair))
        return self.service

    def channel(self, compression: grpc.Compression = grpc.Compression.NoCompression) -> grpc.Channel:
        """A connection of its own."""
        credentials = grpc.ssl_channel_credentials(self._authority)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        address = f"127.0.0.1:{self.service.grpc_port}"
        return grpc.secure_channel(address, credentials, options=options, compression=compression)

    def resident(self) -> int:
        status = Path(f"/proc/{self.service.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return 1024 * int(found.group(1))

    def open_files(self) -> int:
        return len(list(Path(f"/proc/{self.service.process.pid}/fd").iterdir()))


def metadata(token: str = TOKEN) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def code_of(error: grpc.RpcError) -> grpc.StatusCode:
    call: Any = error
    code: grpc.StatusCode = call.code()
    return code
