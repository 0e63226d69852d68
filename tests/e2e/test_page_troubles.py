"""What the page says, and keeps, when the server refuses or is gone."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from browser import browser
from programs import free_port
from service import Service, eventually

BEGINNING = "It was a dark and stormy night"


def test_a_server_with_bearer_tokens(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(f"ann {hashlib.sha256(b'open sesame').hexdigest()}\n")
    with Service("--openai", "127.0.0.1:0", "--tokens", tokens) as server, \
            browser(f"127.0.0.1:{server.openai_port}") as page:
        page.open().until("!document.getElementById('notice').hidden")
        assert "bearer token" in page.notice
        assert page.ask("document.activeElement.id") == "key"
        for key, notice in (("wrong", True), ("open sesame", False)):
            field = page.find("#key")
            field.clear()
            field.send_keys(key)
            field.submit()
            page.until(f"document.getElementById('notice').hidden !== {str(notice).lower()}")
        page.until("document.getElementById('model').value")
        page.set(max_tokens=3)
        page.type(BEGINNING)
        page.go()
        page.end()
        assert len(page.tokens) == 3
        # It is kept for this tab, and nowhere else.
        page.ready()
        assert page.notice == ""
        assert page.ask("[localStorage.length, document.cookie]") == [0, ""]


def test_a_server_that_is_gone_and_comes_back() -> None:
    listen = f"127.0.0.1:{free_port()}"
    with Service("--openai", listen) as server, browser(listen) as page:
        page.ready().set(max_tokens=100000)
        page.type(BEGINNING)
        page.go()
        page.writes()
        server.process.kill()
        page.end()
        assert "connection broke" in page.notice
        kept = page.tokens
        assert kept
        page.type(" and then")
        page.go()
        page.end()
        assert "does not answer" in page.notice
        assert page.find("#text").get_attribute("value") == " and then"
        assert page.tokens == kept
        with Service("--openai", listen):
            page.set(max_tokens=5)
            page.find("#again-now").click()
            page.end()
            assert page.notice == ""
            assert len(page.tokens) == len(kept) + 5


def test_a_full_server_says_when_to_try_again() -> None:
    with Service("--openai", "127.0.0.1:0", "--slots", 1, "--max-queue", 0) as server, \
            browser(f"127.0.0.1:{server.openai_port}") as first, \
            browser(f"127.0.0.1:{server.openai_port}") as second:
        for page in (first, second):
            page.ready().set(max_tokens=100000)
            page.type(BEGINNING)
            page.go()
            if page is first:
                page.writes()
        second.end()
        assert re.search("all hands full.*\nTry again", second.notice)
        assert second.find("#text").get_attribute("value") == BEGINNING
        first.go()
        first.end()
        assert eventually(lambda: server.sum("fma_requests_running") == 0)
        second.until("!document.getElementById('again-now').disabled")
        second.find("#again-now").click()
        second.writes()


def test_a_wrong_setting_is_marked() -> None:
    with Service("--openai", "127.0.0.1:0") as server, browser(f"127.0.0.1:{server.openai_port}") as page:
        page.ready().set(top_p=7)
        page.type(BEGINNING)
        page.go()
        page.end()
        assert "top_p" in page.notice and "allowed" in page.notice
        assert page.find("#set-top_p").get_attribute("aria-invalid") == "true"
        assert page.find("#text").get_attribute("value") == BEGINNING
