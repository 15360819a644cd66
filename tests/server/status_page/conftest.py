"""A service with its page, and a browser that looks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.server.config import Metrics
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from selenium.webdriver import Chrome

from tests.kit.browser import browser, resize
from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.until import until

QUICK = LivenessParameters(
    report_interval=0.25, suspect_floor=1.0, offline_after=5.0, isolated_after=0.5, rot_window=2.0,
    suspicion_interval=2.0,
)  # fmt: skip
SOON = 60.0
"""Seconds within which a browser shows something, on a busy machine too."""


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Service]:
    """A service that finds rot within seconds."""
    settings = config(tmp_path, deciding=deciding(), liveness=QUICK)
    async with serving(replace(settings, metrics=Metrics(address="127.0.0.1:0"))) as running:
        yield running


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for all tests of a worker: its start takes as long as a test."""
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


class StatusPage:
    """The status page in a browser; every look is in a thread, for the service runs in this loop."""

    def __init__(self, chromium: Chrome, service: Service) -> None:
        self.chromium = chromium
        self.base = f"http://127.0.0.1:{service.app.metrics_port}/"

    async def open(self, anchor: str = "") -> None:
        """Load the page."""
        await self.do(lambda page: page.get("about:blank"))
        await self.do(lambda page: page.get(self.base + anchor))

    async def do(self, action: Callable[[Chrome], Any]) -> Any:
        """Do something with the browser."""
        return await asyncio.to_thread(action, self.chromium)

    async def run(self, script: str, *values: Any) -> Any:
        """The value of a script."""
        return await self.do(
            lambda page: page.execute_script(script, *values)  # pyright: ignore[reportUnknownMemberType]
        )

    async def until(self, script: str, what: str) -> None:
        """Wait until an expression is true."""

        async def holds() -> bool:
            return bool(await self.run(f"return {script}"))

        await until(holds, what, SOON, 0.1)

    async def answer(self, script: str) -> Any:
        """What a script gives to its last argument, a function."""
        return await self.do(lambda page: page.execute_async_script(script))  # pyright: ignore[reportUnknownMemberType]

    async def resize(self, width: int, height: int) -> None:
        """Give the page this size."""
        await self.do(lambda page: resize(page, width, height))

    async def save(self, path: str) -> None:
        """Save a screenshot."""
        await self.do(lambda page: page.save_screenshot(path))  # pyright: ignore[reportUnknownMemberType]

    async def text(self, element_id: str) -> str:
        """The text of an element."""
        return str(await self.run("return document.getElementById(arguments[0]).innerText", element_id))

    async def complaints(self) -> list[str]:
        """What the browser's console says: errors, and what the security policy refused."""
        lines = await self.do(lambda page: page.get_log("browser"))  # type: ignore[no-untyped-call]
        return [line["message"] for line in lines]


@pytest.fixture
async def page(chromium: Chrome, watched: Service) -> AsyncIterator[StatusPage]:
    shown = StatusPage(chromium, watched)
    await shown.complaints()
    yield shown
    await shown.do(lambda page: page.get("about:blank"))
