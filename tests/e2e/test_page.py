"""The page in a real browser, before a real server."""

from __future__ import annotations

import http.client
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from browser import Page, browser
from programs import DEMO_MODEL, chat_model
from selenium.webdriver.common.keys import Keys
from service import Service, eventually

BEGINNING = "It was a dark and stormy night; the rain fell in torrents, except at occasional intervals. "
OPENAI = ("--openai", "127.0.0.1:0")


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with Service(*OPENAI) as server:
        yield server


@pytest.fixture
def page(server: Service) -> Iterator[Page]:
    with browser(f"127.0.0.1:{server.openai_port}") as page:
        yield page.ready()
        assert page.complaints() == []


def call(server: Service, path: str, body: dict[str, object] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", server.openai_port, timeout=60)
    connection.request("POST" if body else "GET", path, json.dumps(body) if body else None)
    answer = connection.getresponse()
    assert answer.status == 200
    return json.loads(answer.read())


def seen_groups(length: int) -> dict[int, int]:
    """Groups that the last of `length` tokens sees at each level ("Who sees what" in docs/model.md)."""
    fma = json.loads((DEMO_MODEL / "config.json").read_text())["fma"]
    fine = (length - 1) // fma["group_size"]
    seen = {}
    for level in range(1, fma["num_levels"] + 1):
        group = fine >> (level - 1)
        seen[level] = sum(g >= 0 for g in ([group - 2, group - 3] if group % 2 else [group - 2]))
    return {level: groups for level, groups in seen.items() if groups}


def drawn_groups(page: Page) -> dict[int, int]:
    names = page.ask("[...document.querySelectorAll('#drawing rect.group')].map((rect) => rect.getAttribute('class'))")
    return dict(Counter(int(re.search(r"level-(\d+)", name).group(1)) for name in names))  # type: ignore[union-attr]


def test_a_text_is_continued_as_the_api_does_and_the_picture_shows_it(server: Service, page: Page) -> None:
    page.set(temperature=0.7, seed=5, max_tokens=120)
    page.type(BEGINNING * 12)
    page.driver.execute_script("""
        window.lengths = new Set();
        new MutationObserver(() => lengths.add(document.querySelectorAll('#path .token').length))
            .observe(document.getElementById('path'), {subtree: true, childList: true});""")
    page.go()
    page.end()
    assert page.ask("lengths.size") >= 3, "the tokens came all at once"
    request = {"prompt": BEGINNING * 12, "temperature": 0.7, "seed": 5, "max_tokens": 120}
    answer = call(server, "/v1/completions", {"model": page.ask("model.id"), **request})
    assert page.text == BEGINNING * 12 + answer["choices"][0]["text"]
    assert len(page.tokens) == 120
    length = answer["usage"]["total_tokens"]
    page.until(f"document.getElementById('sees').textContent.startsWith('{length:,} tokens')")
    assert drawn_groups(page) == seen_groups(length)
    assert len(seen_groups(length)) >= 2
    colours = page.ask("[...document.querySelectorAll('#path .token')].map((token) => token.className)")
    assert len(set(colours)) >= 3


def test_the_picture_of_any_length(page: Page) -> None:
    slider = page.find("#length")
    for steps in (Keys.HOME, Keys.END):
        slider.send_keys(steps)
        length = page.ask("lengthOf(document.getElementById('length').valueAsNumber)")
        page.until(f"document.getElementById('sees').textContent.startsWith('{length:,} token')")
        assert drawn_groups(page) == seen_groups(length)
    assert "GiB" in page.find("#full-bytes").text and page.find("#own-bytes").text == "2.1 MiB"


def test_stop_ends_the_request_and_keeps_the_text(server: Service, page: Page) -> None:
    page.set(max_tokens=100000)
    page.type(BEGINNING)
    page.go()
    page.writes()
    page.go()
    page.end()
    tokens = page.tokens
    assert 0 < len(tokens) < 100000
    assert eventually(lambda: server.sum("fma_requests_running") == 0)
    assert page.tokens == tokens


def test_another_token_is_a_fork_and_going_back_a_rewind(page: Page) -> None:
    page.set(max_tokens=20)
    page.type(BEGINNING)
    page.go()
    page.end()
    first, text = page.tokens, page.text
    page.all("#path .token")[7].click()
    page.until("!document.getElementById('popover').hidden")
    alternatives = page.all("#popover button:not(.on):not(.is)")
    assert len(alternatives) >= 4
    alternatives[0].click()
    page.end()
    assert len(page.branches) == 3
    assert page.tokens[:7] == first[:7] and page.tokens[7] != first[7] and len(page.tokens) == 28
    page.branches[1].click()
    assert page.text == text
    page.find("#another").click()
    page.end()
    page.type(" And then")
    page.go()
    page.end()
    assert len(page.branches) == 5
    assert page.text.startswith(BEGINNING) and " And then" in page.text
    page.find("#back").click()
    assert page.find("#text").get_attribute("value") == " And then"
    page.branches[0].click()
    assert page.text == ""


def test_alternatives_by_keyboard(page: Page) -> None:
    page.set(max_tokens=12)
    page.type(BEGINNING + Keys.CONTROL + Keys.ENTER)
    page.end()
    page.ask("document.querySelector('.answer').focus()")
    for key in (Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_LEFT):
        page.driver.switch_to.active_element.send_keys(key)
    assert page.ask("document.activeElement === document.querySelectorAll('#path .token')[1]")
    assert "%" in page.ask("document.activeElement.getAttribute('aria-label')")
    page.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert page.ask("document.getElementById('popover').contains(document.activeElement)")
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert page.ask("document.getElementById('popover').hidden")
    assert page.ask("document.activeElement.className") == "answer"


def shown_attention(page: Page) -> dict[str, tuple[list[float], str]]:
    """The rows of the popover: by part the strength of each layer's cell, and the average in words."""
    rows = page.ask("""[...document.querySelectorAll('#attention .part')].map((row) => [row.firstChild.textContent,
        [...row.querySelectorAll('i')].map((cell) => Number(cell.style.opacity)), row.lastChild.textContent])""")
    return {name: (cells, words) for name, cells, words in rows}


def test_attention_is_that_of_the_api_whether_pointed_at_or_by_keyboard(server: Service, page: Page) -> None:
    page.set(max_tokens=12, temperature=0)
    page.type(BEGINNING * 12)
    page.go()
    page.end()
    request = {"model": page.ask("model.id"), "prompt": BEGINNING * 12, "max_tokens": 12, "temperature": 0}
    told = call(server, "/v1/completions", {**request, "attention_shares": True})["choices"][0]["attention_shares"]
    page.ask("document.querySelectorAll('#path .token')[5].focus()")
    shown = shown_attention(page)
    layers = told[5]
    parts = {"Near field": [layer["near_field"] for layer in layers]}
    for level in range(len(layers[0]["levels"])):
        parts[f"Level {level + 1}"] = [layer["levels"][level] for layer in layers]
    parts = {name: shares for name, shares in parts.items() if name == "Near field" or max(shares) > 0}
    assert set(shown) == set(parts) and len(parts) >= 3
    for name, shares in parts.items():
        assert [cell**2 for cell in shown[name][0]] == pytest.approx(shares, abs=1e-3)
        percent = 100 * statistics.mean(shares)
        assert float(re.search(r"[\d.]+", shown[name][1]).group()) == pytest.approx(percent, abs=0.6)
    page.until("document.getElementById('picture-words').textContent.includes('Its attention: Near field')")
    beside = page.ask("[...document.querySelectorAll('#drawing text')].map((text) => text.textContent)")
    assert f"{shown['Level 1'][1]} of its attention" in beside
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    assert shown_attention(page) != shown
    page.find("#text").click()
    page.until("document.getElementById('popover').hidden")
    page.until("!document.getElementById('drawing').textContent.includes('attention')")


def seconds_to_type(page: Page, key: str) -> float:
    """From the key to its letter in the box, as another program sees it."""
    begin = time.monotonic()
    page.type(key)
    assert page.ask("document.getElementById('text').value").endswith(key)
    return time.monotonic() - begin


def test_a_book_is_pasted_and_keys_are_answered_while_it_is_read(page: Page) -> None:
    book = "".join(f"{number}. {BEGINNING}\n" for number in range(6000))
    assert len(book) > 570_000
    page.paste(book)
    page.go()
    page.until("!document.getElementById('reading').hidden")
    busy: list[float] = []

    def are_answered() -> bool:
        busy[:] = [page.busy_seconds()]
        waits = []
        for _ in range(8):
            waits.append(seconds_to_type(page, "a"))
            busy.append(page.busy_seconds())
        return statistics.median(waits) < 0.1

    # Other programs may keep the browser waiting, but not from each key of each round.
    assert eventually(are_answered)
    # Nor has the page much to do between two keys.
    assert statistics.median(after - before for before, after in pairwise(busy)) < 0.4, busy
    assert page.ask("!document.getElementById('reading').hidden"), "it was read too fast to say anything"
    assert re.search(r"Reading [\d,]+ of [\d,]{6,7} tokens", page.find("#state-words").text)
    added = page.find("#text").get_attribute("value")
    page.go()
    page.end()
    assert page.find("#text").get_attribute("value") == added
    assert page.ask("pasted") == book


def test_what_is_written_never_becomes_markup(page: Page) -> None:
    page.set(max_tokens=3)
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script></textarea>"
    page.type(hostile)
    page.go()
    page.end()
    assert page.text.startswith(hostile)
    assert page.ask("document.querySelectorAll('img').length") == 0
    assert page.ask("document.querySelectorAll('script').length") == 1


def test_nothing_is_loaded_from_elsewhere(server: Service, page: Page) -> None:
    loaded = page.ask("performance.getEntriesByType('resource').map(({name}) => name)")
    origin = f"http://127.0.0.1:{server.openai_port}/"
    assert loaded and all(name.startswith((origin, "data:")) for name in loaded)
    # Another script is refused, whoever writes it into the page.
    page.driver.execute_script("""
        const script = document.createElement('script');
        try { script.textContent = 'window.intruder = true'; } catch { return; }
        document.head.append(script);""")
    assert page.ask("window.intruder === undefined")
    page.complaints()


def test_a_model_without_a_chat_template_says_so(page: Page) -> None:
    page.find("#tab-chat").click()
    assert "no chat template" in page.find("#no-chat").text
    assert not page.find("#go").is_enabled()


def test_a_chat(tmp_path: Path) -> None:
    with Service(*OPENAI, model=chat_model(tmp_path / "talker")) as server, \
            browser(f"127.0.0.1:{server.openai_port}") as page:
        page.ready().find("#tab-chat").click()
        page.set(max_tokens=8, temperature=0)
        for question in ("Who is there?", "And why?"):
            page.type(question + Keys.ENTER)
            page.end()
        assert len(page.branches) == 3
        first, second = (page.ask(f"answerOf(pathTo(place().here)[{turn}])") for turn in (0, 1))
        messages = [{"role": "user", "content": "Who is there?"}, {"role": "assistant", "content": first},
                    {"role": "user", "content": "And why?"}]
        answer = call(server, "/v1/chat/completions",
                      {"model": page.ask("model.id"), "messages": messages, "max_tokens": 8, "temperature": 0})
        assert second == answer["choices"][0]["message"]["content"]
        page.find("#tab-write").click()
        assert page.text == ""
        assert page.complaints() == []


def test_a_card_never_covers_its_word(server: Service) -> None:
    """Words that begin a line have left their space at the end of the line above."""
    with browser(f"127.0.0.1:{server.openai_port}", 360, 780) as page:
        page.ready().set(max_tokens=60, temperature=0)
        page.type(BEGINNING)
        page.go()
        page.end()
        covered = page.ask("""[...document.querySelectorAll('#path .token')]
            .filter((token) => token.getClientRects().length === 2).map((token) => {
              token.focus();
              const word = [...token.getClientRects()][1];
              const card = document.getElementById('popover').getBoundingClientRect();
              return word.bottom > card.top && word.top < card.bottom;
            })""")
        assert len(covered) > 3 and not any(covered)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1360])
def test_it_fits_and_can_be_read(server: Service, width: int, dark: bool) -> None:
    with browser(f"127.0.0.1:{server.openai_port}", width, 780, dark) as page:
        page.ready().set(max_tokens=30, temperature=0)
        page.type("W" * 300 + " " + BEGINNING)
        page.go()
        page.end()
        assert page.ask("document.documentElement.scrollWidth") <= width
        last = "[...document.querySelectorAll('#path .token')].at(-1).getBoundingClientRect().bottom"
        assert page.ask(f"{last} < document.querySelector('.bar-below').getBoundingClientRect().top")
        sizes = page.ask("[...document.querySelectorAll('button')].filter((b) => b.checkVisibility())"
                         ".map((b) => b.getBoundingClientRect().right)")
        assert max(sizes) <= width
        page.all("#path .token")[-1].click()
        page.until("!document.getElementById('popover').hidden")
        left, right = page.ask("['left', 'right'].map((side) =>"
                               " document.getElementById('popover').getBoundingClientRect()[side])")
        assert left >= 0 and right <= width
        rights = page.ask("[...document.querySelectorAll('#attention span')]"
                          ".map((part) => part.getBoundingClientRect().right)")
        assert len(rights) >= 6 and max(rights) <= right
        ground, ink = page.ask("['background-color', 'color'].map((name) =>"
                               " getComputedStyle(document.body).getPropertyValue(name))")
        assert (brightness(ground) < 0.1) == dark and (brightness(ink) > 0.5) == dark
        colours = page.ask("[0, 1, 2, 3, 4, 5].map((s) => getComputedStyle(document.querySelector(`#legend .s${s}`))"
                           ".backgroundColor)")
        paper = page.ask("getComputedStyle(document.querySelector('.card')).backgroundColor")
        assert min(contrast(over(colour, paper), ink) for colour in colours) >= 4.5


def numbers(colour: str) -> list[float]:
    return [float(number) for number in re.findall(r"[\d.]+", colour)]


def over(colour: str, ground: str) -> str:
    """A colour that lets something through, as it looks on `ground`."""
    red, green, blue, *alpha = numbers(colour)
    part = alpha[0] if alpha else 1
    mixed = [part * top + (1 - part) * below for top, below in zip((red, green, blue), numbers(ground))]
    return f"rgb({mixed[0]}, {mixed[1]}, {mixed[2]})"


def brightness(colour: str) -> float:
    """Relative luminance, as WCAG defines it."""
    parts = [part / 255 for part in numbers(colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((brightness(one), brightness(other)))
    return (high + 0.05) / (low + 0.05)
