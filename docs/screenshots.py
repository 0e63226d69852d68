"""Takes the pictures of docs/page.md: the page of a real server with the demo model, in Debian's Chromium.

    /usr/bin/python3 docs/screenshots.py

Needs the built programs and the packages that scripts/packages.txt lists for tests.
"""

from __future__ import annotations

import base64
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from browser import Page, browser  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from service import Service, eventually  # noqa: E402

IMAGES = ROOT / "docs" / "images"
TALE = (ROOT / "tests" / "data" / "validation-excerpt.txt").read_text()


def write(page: Page) -> None:
    """A tale of some thousand tokens, continued."""
    page.ready().set(temperature=0.7, top_p=0.9, repetition_penalty=1.05, seed=5, max_tokens=120)
    page.paste(TALE[: TALE.rindex("\n\n", 0, 30_000)])
    page.go()
    page.end()


def write_and_fork(page: Page) -> None:
    """The same, with two branches."""
    write(page)
    for seed in (6, 8):
        page.set(seed=seed)
        page.find("#another").click()
        page.end()
    page.go()
    page.end()


def look_at_a_token(page: Page) -> None:
    """The one of the last hundred that surprised the most."""
    tokens = page.all("#path .token")[-100:-30]
    surprise = [token.get_attribute("class")[7:8] for token in tokens]
    token = tokens[surprise.index(max(surprise))]
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", token)
    ActionChains(page.driver).move_to_element(token).perform()
    page.until("!document.getElementById('popover').hidden")


def stands_still(page: Page) -> bool:
    before = page.find("#drawing").get_attribute("innerHTML")
    time.sleep(0.5)
    return before == page.find("#drawing").get_attribute("innerHTML")


def take(page: Page, name: str) -> None:
    assert eventually(lambda: stands_still(page))
    shot = page.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "webp", "quality": 88})
    (IMAGES / f"{name}.webp").write_bytes(base64.b64decode(shot["data"]))


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with Service("--openai", "127.0.0.1:0") as server:
        for dark in (False, True):
            with browser(f"127.0.0.1:{server.openai_port}", 1360, 900, dark) as page:
                write_and_fork(page)
                look_at_a_token(page)
                take(page, "page-dark" if dark else "page-light")
        with browser(f"127.0.0.1:{server.openai_port}", 390, 844) as page:
            write(page)
            look_at_a_token(page)
            take(page, "page-phone")


if __name__ == "__main__":
    main()
