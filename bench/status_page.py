"""How soon the status page is painted, and what an update of it costs, with a store of 10,000 peers.

A real headless Chromium over a real service. One observer has heard all peers, two nodes are attached and report, so
that the page is told of changes all the time. Chromium counts the time of its scripts itself.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from selenium.webdriver import Chrome

from bench.intentions import ready
from bench.report import Figure, arguments, at_most, show
from tests.kit.browser import browser
from tests.kit.fake_fleet import fake_fleet, fill_store
from tests.kit.ports import free_ports
from tests.kit.process import service
from tests.kit.service_lab import connected
from tests.kit.status_page import StatusPage

PEERS = 10_000
LOOK = 1.0
"""Seconds of one look at the counts of scripts; the page asks for the rows that are seen once in them."""


def script_seconds(chromium: Chrome) -> float:
    """Seconds that the page's scripts have run, layout and painting left out."""
    counted: dict[str, Any] = chromium.execute_cdp_cmd("Performance.getMetrics", {})  # pyright: ignore
    return float(next(one["value"] for one in counted["metrics"] if one["name"] == "ScriptDuration"))


async def look(page: StatusPage, looks: int) -> tuple[float, float, list[float]]:
    """Milliseconds until it was painted and until all peers were known, and seconds of scripts in each look."""
    page.chromium.execute_cdp_cmd("Performance.enable", {})  # pyright: ignore[reportUnknownMemberType]
    await page.open("#store=large")
    await page.until("performance.getEntriesByName('first-contentful-paint').length", "it is painted")
    painted = await page.run("return performance.getEntriesByName('first-contentful-paint')[0].startTime")
    await page.until(f"/{PEERS} peers/.test(document.getElementById('peers').innerText)", "all are known")
    known = await page.run("return performance.now()")
    await page.run("document.querySelector('.virtual').scrollTop = 200000")
    seconds = list[float]()
    for _ in range(looks):
        before = script_seconds(page.chromium)
        await asyncio.sleep(LOOK)
        seconds.append(script_seconds(page.chromium) - before)
    return painted, known, seconds


async def measure(chromium: Chrome, looks: int) -> dict[str, Figure]:
    """Open the page and let it run."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as directory:
        settings = {"metrics_address": f"127.0.0.1:{port}", "state_backend": "memory"}
        address = f"unix:{directory}/gossipcontrol.sock"
        async with service(None, Path(directory), log_to=Path(directory) / "log", **settings):
            await asyncio.to_thread(ready, address)
            async with connected(address) as calls:
                await fill_store(calls, "large", PEERS)
                async with fake_fleet(calls, "large", "peer-00000", "peer-00001"):
                    found = await look(StatusPage(chromium, f"http://127.0.0.1:{port}/"), looks)
    painted, known, seconds = found
    return {
        "first paint": at_most(painted, "ms", 1000),
        "all peers shown after": Figure(known, "ms"),
        "scripts per second of updates, median": at_most(1000 * median(seconds), "ms", 50),
        "scripts per second of updates, most": Figure(1000 * max(seconds), "ms"),
    }


def main() -> None:
    chosen = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="gossipcontrol-") as profile:
        try:
            with browser(Path(profile)) as chromium:
                show("status_page", asyncio.run(measure(chromium, 5 if chosen.quick else 30)), chosen.as_json)
        except pytest.skip.Exception as missing:
            sys.exit(str(missing))


if __name__ == "__main__":
    main()
