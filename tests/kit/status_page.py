"""The status page in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from selenium.webdriver import Chrome

from tests.kit.browser import resize
from tests.kit.until import until

SOON = 60.0
"""Seconds within which a browser shows something, on a busy machine too."""


class StatusPage:
    """The status page in a browser; every look is in a thread, for the service may run in this loop."""

    def __init__(self, chromium: Chrome, base: str) -> None:
        self.chromium = chromium
        self.base = base

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
