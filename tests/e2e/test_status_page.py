"""The status page in a real browser, over real iroh-gossip nodes whose network is cut in two and joined again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.browser import browser
from tests.kit.observed_fleet import observed
from tests.kit.status_page import StatusPage


@pytest.mark.waits(60)
async def test_a_partition_of_real_nodes_and_its_healing_are_shown(tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as chromium:
        async with observed(tmp_path, near=2, beyond=2) as seen:
            page = StatusPage(chromium, seen.page)
            await page.open()
            await page.until("document.querySelectorAll('#graph circle').length === 4", "four nodes are drawn")
            await page.until("/4 online/.test(document.getElementById('peers').innerText)", "four peers are online")
            assert await page.run("return document.querySelector('#graph .cut')") is None
            await seen.fleet.network.cut()
            await page.until("/partitioned/.test(document.getElementById('attention').innerText)", "it is partitioned")
            await page.until(
                "/2 \\+ 2 nodes have no path/.test(document.getElementById('graph').innerText)", "the sides"
            )
            await page.until("document.querySelector('#graph .cut')", "they are drawn apart")
            await seen.fleet.network.heal()
            await page.until("/whole/.test(document.getElementById('stores').innerText)", "the store is whole again")
            await page.until("!document.querySelector('#graph .cut, #graph .rotten')", "no link is rotten")
            await page.until("/4 online/.test(document.getElementById('peers').innerText)", "all are online")
            assert await page.complaints() == []
