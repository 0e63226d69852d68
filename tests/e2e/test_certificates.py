"""Certificates that are renewed in every order and in every broken way, under a running server."""

from __future__ import annotations

import os
import pty
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import Authority, Pair
from programs import BIN, DEMO_MODEL
from renewals import BROKEN, Files, key_with_a_passphrase
from service import Service, eventually

METRIC = 'fma_tls_certificate_expiry_timestamp_seconds{{certificate="{}"}}'
UNREACHABLE = 4


def shown(server: Service) -> bytes:
    """The certificate that the server shows."""
    return ssl.get_server_certificate(("127.0.0.1", server.grpc_port), timeout=20).encode()


def is_shown(server: Service, pair: Pair) -> bool:
    return shown(server) in pair.cert.read_bytes()


@pytest.mark.parametrize("damage", BROKEN)
def test_the_old_pair_stays_until_a_new_one_fits(damage: Callable[[Files], None], tmp_path: Path) -> None:
    files = Files(tmp_path)
    with Service(*files.flags) as server:
        end = server.scrape()[METRIC.format("server")]
        assert abs(end - time.time() - 2 * 86400) < 600
        damage(files)
        assert eventually(lambda: "its renewal fails" in server.log())
        assert is_shown(server, files.old)
        assert server.run("models", "--tls-ca", files.authority.cert)[0] == 0
        assert server.scrape()[METRIC.format("server")] == end
        files.put(files.new)
        assert eventually(lambda: "is renewed" in server.log())
        assert is_shown(server, files.new)
        assert server.run("models", "--tls-ca", files.authority.cert)[0] == 0
        assert server.scrape()[METRIC.format("server")] > end + 20 * 86400
        # One line for each change of condition.
        assert server.log().count("its renewal fails") <= 2, server.log()
        assert server.log().count("is renewed") == 1
        assert server.stop() == 0


def test_a_running_stream_outlives_its_certificate(tmp_path: Path) -> None:
    files = Files(tmp_path)
    with Service(*files.flags) as server:
        words = ("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos", "--tls-ca", files.authority.cert)
        with server.client(*words) as stream:
            assert stream.stdout is not None
            assert len(stream.stdout.read(100)) == 100
            files.put(files.new)
            assert eventually(lambda: "is renewed" in server.log())
            assert len(stream.stdout.read(1_000)) == 1_000
            stream.kill()


def test_the_authorities_of_clients_are_renewed_too(tmp_path: Path) -> None:
    files, clients = Files(tmp_path), Authority.create(tmp_path / "clients")
    early, late = files.authority.issue("early"), clients.issue("late")
    authorities = tmp_path / "authorities.pem"
    shutil.copy(files.authority.cert, authorities)
    with Service(*files.flags, "--tls-client-ca", authorities) as server:

        def models(client: Pair) -> int:
            words = ("--tls-ca", files.authority.cert, "--tls-cert", client.cert, "--tls-key", client.key)
            return server.run("models", *words)[0]

        assert METRIC.format("client_ca") in server.scrape()
        assert (models(early), models(late)) == (0, UNREACHABLE)
        authorities.write_bytes(b"")
        assert eventually(lambda: "tls-client-ca" in server.log())
        assert (models(early), models(late)) == (0, UNREACHABLE)
        shutil.copy(clients.cert, authorities)
        assert eventually(lambda: "is renewed" in server.log())
        assert (models(early), models(late)) == (UNREACHABLE, 0)


def test_a_passphrase_is_refused_at_start_and_never_asked_for(tmp_path: Path) -> None:
    files = Files(tmp_path)
    key_with_a_passphrase(files)
    leader, follower = pty.openpty()
    command = [BIN / "fma-server", "--model", DEMO_MODEL, "--listen", "127.0.0.1:0", *files.flags]
    done = subprocess.run(
        [str(word) for word in command],
        stdin=follower,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    os.close(follower)
    os.close(leader)
    assert done.returncode == 1
    assert "a key with a passphrase; allowed:" in done.stdout
    assert str(files.key) in done.stdout


@pytest.mark.parametrize("damage", BROKEN)
def test_what_does_not_fit_is_refused_at_start(damage: Callable[[Files], None], tmp_path: Path) -> None:
    files = Files(tmp_path)
    damage(files)
    with Service(*files.flags, ready=False) as server:
        assert server.process.wait(timeout=60) == 1
        assert "tls-cert" in server.log() or "tls-key" in server.log()
