"""A real headless Chromium, driven with Selenium."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb",
)  # fmt: skip

PATIENCE = 120.0
"""Seconds that a page may load, and a script run, before the driver gives up; a busy machine takes tens of them."""


@contextmanager
def alone(lock: Path) -> Generator[None]:
    """Hold this file, so that one test looks at a page at a time: several browsers would starve each other."""
    with lock.open("w", encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


@contextmanager
def browser(profile: Path) -> Generator[Chrome]:
    """A browser with an empty profile in this folder; skips where Chromium is missing."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("Chromium is missing: install the Debian packages chromium and chromium-driver")
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--no-proxy-server"):
        options.add_argument(flag)  # pyright: ignore[reportUnknownMemberType]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})  # pyright: ignore[reportUnknownMemberType]
    # A proxy that the environment names would be asked even for the driver on this host.
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    started = Chrome(options=options, service=Service(driver, env=environ))
    started.set_page_load_timeout(PATIENCE)
    started.set_script_timeout(PATIENCE)
    try:
        yield started
    finally:
        started.quit()


def resize(page: Chrome, width: int, height: int) -> None:
    """Give the page this size, which may be less than a window can have."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # pyright: ignore[reportUnknownMemberType]
