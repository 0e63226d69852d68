"""A real browser, Debian's Chromium, at the page of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service as ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from service import eventually

# Types nothing, but does what the clipboard would do.
PASTE = """
const clipboardData = new DataTransfer();
clipboardData.setData('text/plain', arguments[0]);
const box = document.getElementById('text');
box.focus();
box.dispatchEvent(new ClipboardEvent('paste', {clipboardData, bubbles: true, cancelable: true}));
"""


class Page:
    """The page as somebody sees and uses it."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self) -> Page:
        self.driver.get(f"http://{self.address}/")
        return self

    def ready(self) -> Page:
        """Opens it, and waits until it knows the model."""
        self.open()
        self.until("document.getElementById('model').value")
        return self

    def ask(self, expression: str, *arguments: object) -> Any:
        """The value of an expression of JavaScript."""
        return self.driver.execute_script(f"return {expression}", *arguments)

    def until(self, expression: str, seconds: float = 60) -> None:
        assert eventually(lambda: bool(self.ask(expression)), seconds), (expression, self.notice, self.state)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def set(self, **controls: object) -> None:
        """Sampling, by the names of the request's fields."""
        if not self.ask("document.getElementById('settings').open"):
            self.find("#settings summary").click()
        for name, value in controls.items():
            field = self.find(f"#set-{name}")
            field.clear()
            field.send_keys(str(value))

    def type(self, text: str) -> None:
        self.find("#text").send_keys(text)

    def paste(self, text: str) -> None:
        self.driver.execute_script(PASTE, text)

    def go(self) -> None:
        """Continues or sends, without waiting for the end."""
        self.find("#go").click()

    def writes(self) -> None:
        """Waits for the first tokens."""
        self.until("document.querySelector('.writing .token')")

    def end(self) -> None:
        """Waits until nothing runs."""
        self.until("document.getElementById('go').textContent !== 'Stop'", 120)

    @property
    def text(self) -> str:
        return str(self.ask("document.getElementById('path').textContent"))

    @property
    def tokens(self) -> list[str]:
        """Those that the model chose."""
        return list(self.ask("[...document.querySelectorAll('#path .token')].map((token) => token.textContent)"))

    @property
    def branches(self) -> list[WebElement]:
        return self.all("#tree [role=treeitem]")

    @property
    def state(self) -> str:
        """What the page says about its server and what runs."""
        return str(self.ask("document.getElementById('state-words').textContent"))

    @property
    def notice(self) -> str:
        return self.find("#notice").text  # empty while it is hidden

    def busy_seconds(self) -> float:
        """Processor time of the page's main thread, which answers keys, so far."""
        metrics = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))

    def complaints(self) -> list[str]:
        """What the browser itself complains about: scripts that fail, a policy that is not kept."""
        lines = [str(entry["message"]) for entry in self.driver.get_log("browser")]
        # A status of an answer that is not 2xx is a line too.
        return [line for line in lines if "Failed to load resource" not in line]


@contextmanager
def browser(address: str, width: int = 1360, height: int = 900, dark: bool = False) -> Iterator[Page]:
    """The page in a window of this size; one below 600 is a phone."""
    options = webdriver.ChromeOptions()
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=ChromeService("/usr/bin/chromedriver"))
    try:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        yield Page(driver, address)
    finally:
        driver.quit()
