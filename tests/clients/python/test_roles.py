"""Servers for prefill and for decode, with sessions between them."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from fma_client import Client, FailedPreconditionError
from programs import DEMO_MODEL, serve

BOOK = "It was a dark and stormy night, and the old captain had not slept. " * 20
SAMPLED = {"max_tokens": 20, "seed": 7, "repetition_penalty": 1.2, "ignore_eos": True}


def test_what_one_server_reads_another_goes_on_with(tmp_path: Path) -> None:
    clients = {}
    with ExitStack() as stack:
        for role in ("any", "prefill", "decode"):
            flags = ("--threads", 1, "--session-dir", tmp_path / "sessions", "--role", role, "--role-tokens", 16)
            clients[role] = stack.enter_context(Client(stack.enter_context(serve(DEMO_MODEL, *flags))))
        assert {role: (c.model().role, c.model().role_tokens) for role, c in clients.items()} == {
            "any": ("any", 0),
            "prefill": ("prefill", 16),
            "decode": ("decode", 16),
        }
        clients["any"].create_session("whole")
        expected = clients["any"].session("whole").generate(BOOK, **SAMPLED).read()[0].token_ids

        prefill, decode = clients["prefill"], clients["decode"]
        prefill.create_session("divided")
        with pytest.raises(FailedPreconditionError, match="to read is 3.*up to 16.*prefill"):
            decode.session("divided").generate(BOOK, **SAMPLED).read()
        with pytest.raises(FailedPreconditionError, match="to generate is 20; allowed: up to 16.*decode"):
            prefill.session("divided").generate(BOOK, **SAMPLED).read()
        prefill.session("divided").generate(BOOK, max_tokens=0).read()
        assert decode.session("divided").generate(**SAMPLED).read()[0].token_ids == expected
