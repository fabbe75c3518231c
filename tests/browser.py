"""A real headless browser that can reach no network but a server on 127.0.0.1."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


def programs() -> tuple[str, str] | None:
    """Return the paths of Chromium and its driver, or None where one is missing."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


@contextmanager
def headless(profile: Path, browser: str, driver: str) -> Iterator[webdriver.Chrome]:
    """Start Chromium with an empty profile; it records console messages and every request."""
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


def resize(chrome: webdriver.Chrome, width: int, height: int = 900) -> None:
    """Set the page's size, also below the narrowest window that a desktop allows."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def reset(chrome: webdriver.Chrome) -> None:
    """Give the page its usual size and media, and forget what was logged and requested."""
    resize(chrome, 1280)
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chrome.get_log("browser"), chrome.get_log("performance")


def points(chrome: webdriver.Chrome, panel: int = 0) -> list[WebElement]:
    """Return the points that a panel shows."""
    return chrome.find_elements("css selector", f"#panel-{panel} .scatterlayer .points path")


def hover(chrome: webdriver.Chrome, point: WebElement) -> str:
    """Point at a point; return what shows: the page's own words on a trial, Plotly's label for all else."""
    chrome.execute_script("arguments[0].scrollIntoView({block: 'center'})", point)
    ActionChains(chrome).move_to_element(point).perform()
    shown = ".tooltip:not([hidden]), .hoverlayer .hovertext"
    label = WebDriverWait(chrome, 5).until(lambda it: it.find_elements("css selector", shown))
    return label[0].get_attribute("textContent")


def screenshot(chrome: webdriver.Chrome, path: Path) -> bytes:
    """Write the whole page as PNG and return it."""
    shot = chrome.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))
    return path.read_bytes()


def requests(chrome: webdriver.Chrome) -> list[str]:
    """Return the addresses that were requested since the last call, data: URIs left out."""
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [event["request"]["url"] for event in sent if not event["request"]["url"].startswith("data:")]
