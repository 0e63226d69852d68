"""TLS, tokens and tenants of a running server, with the `fma` tool as the client."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import grpc
from certificates import Authority
from programs import BIN
from service import Service, eventually

UNREACHABLE = 4
REFUSED = 3


def entry(tenant: str, token: str, limits: str = "") -> str:
    return f"{tenant} {hashlib.sha256(token.encode()).hexdigest()} {limits}\n"


def test_tls_needs_the_right_authority(tmp_path: Path) -> None:
    authority, other = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "other")
    pair = authority.issue("server")
    with Service("--tls-cert", pair.cert, "--tls-key", pair.key) as server:
        assert server.run("models", "--tls-ca", authority.cert)[0] == 0
        assert server.run("models", "--tls-ca", other.cert)[0] == UNREACHABLE
        assert server.run("models")[0] == UNREACHABLE


def test_mutual_tls_needs_a_client_certificate(tmp_path: Path) -> None:
    authority, clients = Authority.create(tmp_path / "ca"), Authority.create(tmp_path / "clients")
    pair, good, bad = authority.issue("server"), clients.issue("client"), authority.issue("stranger")
    flags = ("--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-client-ca", clients.cert)
    with Service(*flags) as server:
        trust = ("models", "--tls-ca", authority.cert)
        assert server.run(*trust, "--tls-cert", good.cert, "--tls-key", good.key)[0] == 0
        assert server.run(*trust)[0] == UNREACHABLE
        assert server.run(*trust, "--tls-cert", bad.cert, "--tls-key", bad.key)[0] == UNREACHABLE


def serial(server: Service) -> int:
    """A number that identifies the certificate that the server shows."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    plain = socket.create_connection(("127.0.0.1", server.grpc_port), timeout=20)
    with plain, context.wrap_socket(plain) as secure:
        return hash(secure.getpeercert(binary_form=True))


def test_a_renewed_certificate_is_used_without_a_restart(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    first, second = authority.issue("first"), authority.issue("second")
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    with Service("--tls-cert", cert, "--tls-key", key) as server:
        before = serial(server)
        shutil.copy(second.key, key)
        shutil.copy(second.cert, cert)
        assert eventually(lambda: serial(server) != before)
        assert server.run("models", "--tls-ca", authority.cert)[0] == 0


def test_wrong_tls_files_are_refused_at_start(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "ca")
    pair, other = authority.issue("server"), authority.issue("other")
    for flags, named in (
        (("--tls-cert", pair.cert), "tls-key"),
        (("--tls-cert", tmp_path / "none", "--tls-key", pair.key), "tls-cert"),
        (("--tls-cert", pair.cert, "--tls-key", other.key), "tls-key"),
        (("--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-client-ca", pair.key), "tls-client-ca"),
    ):
        with Service(*flags, ready=False) as server:
            assert server.process.wait(timeout=60) == 1
            assert named in server.log()


def test_tokens_are_needed_by_everything_but_health(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "a"))
    with Service("--tokens", tokens) as server:
        assert server.run("models", "--token", "a")[0] == 0
        for words in (("models",), ("generate", "x"), ("score", "x"), ("tokenize", "x"), ("sessions", "list")):
            code, _, errors = server.run(*words)
            assert code == REFUSED and "authorization is missing" in errors, errors
            code, _, errors = server.run(*words, "--token", "b")
            assert code == REFUSED and "an unknown token" in errors, errors
        assert server.run("health")[0] == 0
        assert eventually(lambda: server.sum("fma_calls_total") >= 11)
        # Tokens are removed and added while the server runs; a broken file changes nothing.
        tokens.write_text(entry("alice", "b"))
        server.signal(signal.SIGHUP)
        assert eventually(lambda: server.run("models", "--token", "b")[0] == 0)
        assert server.run("models", "--token", "a")[0] == REFUSED
        tokens.write_text("broken")
        server.signal(signal.SIGHUP)
        assert eventually(lambda: "stay as they were" in server.log())
        assert server.run("models", "--token", "b")[0] == 0


def test_tokens_are_not_logged(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "right-token"))
    with Service("--tokens", tokens, "--log-level", "trace") as server:
        for token, code in (("right-token", 0), ("wrong-token", REFUSED)):
            assert server.run("generate", "x", "--max-tokens", 2, "--token", token)[0] == code
        tokens.write_text(entry("alice", "right-token") + "broken")
        server.signal(signal.SIGHUP)
        assert eventually(lambda: "stay as they were" in server.log())
        assert eventually(lambda: "method=Generate" in server.log() and "code=UNAUTHENTICATED" in server.log())
        for secret in ("right-token", "wrong-token"):
            assert secret not in server.log()
            assert hashlib.sha256(secret.encode()).hexdigest() not in server.log()


def test_tenants_do_not_see_each_other(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "a", "sessions=2") + entry("bob", "b"))
    with Service("--tokens", tokens) as server:
        alice, bob = ("--token", "a"), ("--token", "b")
        assert server.run("sessions", "create", "one", *alice)[0] == 0
        code, _, errors = server.run("sessions", "show", "one", *bob)
        assert code == REFUSED and "one" in errors
        assert server.run("sessions", "fork", "one", *bob)[0] == REFUSED
        assert server.run("sessions", "delete", "one", *bob)[0] == REFUSED
        assert "one" not in server.run("sessions", "list", *bob)[1]
        # The same name is another session, and the tenant has its own limit.
        assert server.run("sessions", "create", "one", *bob)[0] == 0
        assert server.run("sessions", "create", "two", *alice)[0] == 0
        code, _, errors = server.run("sessions", "create", "three", *alice)
        assert code == REFUSED and "allowed: up to 2" in errors
        assert server.run("sessions", "fork", "one", *alice)[0] == REFUSED
        assert server.run("sessions", "create", "three", *bob)[0] == 0


def test_tenants_do_not_find_each_others_prompts(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "a") + entry("bob", "b"))
    with Service("--tokens", tokens) as server:

        def cached(token: str) -> int:
            words = ("generate", "--token-ids", json.dumps(100 * [7]), "--max-tokens", 1, "--json", "--token", token)
            code, output, errors = server.run(*words)
            assert code == 0, errors
            return int(json.loads(output.splitlines()[-1])["usage"]["cached_tokens"])

        assert (cached("a"), cached("a"), cached("b")) == (0, 99, 0)


def test_tokens_of_tenants_and_of_administrators_are_apart(tmp_path: Path) -> None:
    tokens, admins = tmp_path / "tokens", tmp_path / "admins"
    tokens.write_text(entry("alice", "a"))
    admins.write_text(entry("root", "r"))
    with Service("--tokens", tokens, "--admin-token-file", admins) as server:

        def unload(token: str) -> str:
            code, _, errors = server.run("admin", "unload", "none", "--token", token)
            assert code == REFUSED
            return errors

        assert "NOT_FOUND" in unload("r")
        assert "UNAUTHENTICATED" in unload("a")
        assert server.run("models", "--token", "a")[0] == 0
        code, _, errors = server.run("models", "--token", "r")
        assert code == REFUSED and "UNAUTHENTICATED" in errors
        admins.write_text(entry("root", "s"))
        server.signal(signal.SIGHUP)
        assert eventually(lambda: "NOT_FOUND" in unload("s"))
        assert "UNAUTHENTICATED" in unload("r")


def test_limits_of_a_tenant(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    limited = entry("few", "f", "concurrent=1") + entry("slow", "s", "tokens-per-minute=10")
    tokens.write_text(limited + entry("free", "x"))
    with Service("--tokens", tokens) as server:
        with server.client("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos", "--token", "f") as busy:
            assert eventually(lambda: server.sum("fma_requests_running") == 1)
            code, _, errors = server.run("generate", "x", "--token", "f")
            assert code == REFUSED and "allowed: up to 1" in errors, errors
            assert server.run("generate", "x", "--max-tokens", 2, "--token", "x")[0] == 0
            busy.kill()
        assert eventually(lambda: server.run("generate", "x", "--max-tokens", 2, "--token", "f")[0] == 0)
        assert server.run("generate", "x", "--max-tokens", 50, "--ignore-eos", "--token", "s")[0] == 0
        code, _, errors = server.run("generate", "x", "--max-tokens", 2, "--token", "s")
        assert code == REFUSED and "tokens per minute" in errors, errors
        assert server.run("tokenize", "x", "--token", "s")[0] == REFUSED
        for words in (("create", "a"), ("list",), ("show", "a"), ("delete", "a")):  # may still look, and clean up
            assert server.run("sessions", *words, "--token", "s")[0] == 0, words


def call(server: Service, method: str, request: bytes, **metadata: str) -> grpc.Call:
    """The result of a call with plain bytes."""
    with grpc.insecure_channel(server.address) as channel:
        pairs = [(key.replace("_", "-"), value) for key, value in metadata.items()]
        answers = channel.unary_stream(method)(request, metadata=pairs, timeout=60)
        with contextlib.suppress(grpc.RpcError):
            list(answers)
        return answers


GENERATE = "/fma.v1.Generation/Generate"
TEXT = bytes([10, 1]) + b"x"  # GenerateRequest with text "x"


def test_who_is_over_a_limit_is_told_when_to_come_back(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("slow", "s", "tokens-per-minute=1") + entry("few", "f", "concurrent=1"))
    with Service("--tokens", tokens) as server:
        assert call(server, GENERATE, TEXT, authorization="Bearer s").code() == grpc.StatusCode.OK
        with server.client("generate", "x", "--max-tokens", 1_000_000, "--ignore-eos", "--token", "f") as busy:
            assert eventually(lambda: server.sum("fma_requests_running") == 1)
            for token in ("s", "f"):
                refused = call(server, GENERATE, TEXT, authorization=f"Bearer {token}")
                assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
                details = dict(refused.trailing_metadata())["grpc-status-details-bin"]
                assert b"type.googleapis.com/google.rpc.RetryInfo" in details
            busy.kill()


def test_no_reflection_where_tokens_are_needed(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "a"))
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    list_services = bytes([0x3A, 0])
    with Service() as server:
        assert call(server, method, list_services).code() == grpc.StatusCode.OK
    with Service("--tokens", tokens) as server:
        assert call(server, method, list_services).code() == grpc.StatusCode.UNIMPLEMENTED


def test_ids_of_the_client_go_into_the_log() -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with Service() as server:
        answer = call(server, GENERATE, TEXT, traceparent=trace, x_request_id="my-id-7")
        assert dict(answer.initial_metadata())["x-request-id"] == "my-id-7"
        assert eventually(lambda: "request=my-id-7" in server.log())
        assert f"traceparent={trace}" in server.log()
        call(server, GENERATE, TEXT, traceparent="00-broken", x_request_id="two words")
        assert eventually(lambda: server.log().count("method=Generate") == 2)
        assert "broken" not in server.log() and "two words" not in server.log()


def test_refusals_have_the_ids_of_their_calls(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(entry("alice", "a"))
    streams = ("Generation/Generate", "Generation/Chat", "Generation/Score", "Sessions/Export", "Sessions/Import")
    others = ("Generation/Tokenize", "Generation/ListModels", "Sessions/Get", "Sessions/Fork")
    with Service("--tokens", tokens) as server:
        for code, token in (("UNAUTHENTICATED", "b"), ("INVALID_ARGUMENT", "a")):
            for method in (*streams, *others):
                who = {"authorization": f"Bearer {token}", "x_request_id": f"id-of-{method[-4:]}"}
                refused = call(server, f"/fma.v1.{method}", b"\xff", **who)
                assert refused.code().name == code, method
                assert dict(refused.initial_metadata())["x-request-id"] == f"id-of-{method[-4:]}", method


def test_requests_for_more_than_allowed_are_refused() -> None:
    limits = ("--max-prompt-tokens", 5, "--max-stop-strings", 1, "--max-samples", 2)
    with Service(*limits) as server:
        assert server.run("generate", "a b", "--max-tokens", 2, "--stop", "x", "--n", 2)[0] == 0
        for flags, limit in (
            (("--stop", "x", "--stop", "y"), "is 2; allowed: up to 1"),
            (("--n", 3), "is 3; allowed: up to 2"),
        ):
            code, _, errors = server.run("generate", "a b", "--max-tokens", 2, *flags)
            assert code == REFUSED and limit in errors, errors
        for command in ("generate", "score"):
            code, _, errors = server.run(command, "word " * 20)
            assert code == REFUSED and "allowed: up to 5" in errors, errors


def test_texts_and_requests_have_a_most_of_bytes() -> None:
    with Service("--max-text-bytes", 20, "--max-request-bytes", 2048) as server:
        for command in ("generate", "score", "tokenize"):
            assert server.run(command, 20 * "x")[0] == 0
            code, _, errors = server.run(command, 21 * "x")
            assert code == REFUSED and "INVALID_ARGUMENT" in errors, errors
            code, _, errors = server.run(command, 2100 * "x")
            assert code == REFUSED and "RESOURCE_EXHAUSTED" in errors, errors


def test_the_load_generator_connects_as_other_clients_do(tmp_path: Path) -> None:
    authority, tokens = Authority.create(tmp_path / "ca"), tmp_path / "tokens"
    pair, own = authority.issue("server"), authority.issue("client")
    tokens.write_text(entry("alice", "a"))
    flags = ("--tls-cert", pair.cert, "--tls-key", pair.key, "--tls-client-ca", authority.cert, "--tokens", tokens)
    with Service(*flags) as server:
        load = [BIN / "fma-bench", "--server", server.address, "--requests", "3", "--output-tokens", "fixed:2"]
        safe = ["--tls-ca", authority.cert, "--tls-cert", own.cert, "--tls-key", own.key]
        for words, code in (([*safe, "--token", "a"], 0), ([*safe, "--token", "b"], REFUSED), ([], UNREACHABLE)):
            done = subprocess.run([*load, *words], capture_output=True, text=True, check=False)
            assert done.returncode == code, done.stderr
        assert eventually(lambda: server.sum("fma_requests_finished_total") == 3)
