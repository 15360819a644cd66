"""The status page in a real browser, over a real service with made-up nodes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains, Keys

from tests.kit.fake_fleet import FakeFleet, Stub, fake_fleet, fill_store
from tests.kit.hostile_text import HOSTILE, raw_characters
from tests.kit.service_lab import Service, connected, rejoin
from tests.kit.status_page import StatusPage

WIDTHS = (390, 1280, 1920)
MARKUP = '<img src=x onerror="window.pwned=1">'
STORES = "document.getElementById('stores')"
CUT = "document.querySelector('#graph .cut')"
REPEATED = (
    "[...document.querySelectorAll('#explain-body p')].map(one => one.innerText)"
    ".filter(text => /^(\\w+) .*\\): \\1: /.test(text))"
)
"""Explanations that say their decision twice."""
ROTTEN = "document.querySelectorAll('#graph .rotten').length"


@pytest.fixture
async def calls(watched: Service) -> AsyncIterator[Stub]:
    async with connected(watched.address) as made:
        yield made


@pytest.fixture
async def fleet(calls: Stub) -> AsyncIterator[FakeFleet]:
    async with fake_fleet(calls, "notes", "anna", "bert", "cleo", "dora", "emil") as made:
        yield made


@pytest.mark.waits(30)
async def test_rot_a_partition_and_the_healing_are_shown_as_they_happen(page: StatusPage, fleet: FakeFleet) -> None:
    await page.open()
    await page.until("document.querySelectorAll('#graph circle').length === 5", "five nodes are drawn")
    await page.until("/5 online/.test(document.getElementById('peers').innerText)", "five peers are online")
    assert await page.run(f"return {ROTTEN}") == 0
    fleet.hears = lambda observer, author: observer != "cleo"
    await page.until(f"{ROTTEN} === 4", "the links to the node that hears nobody are rotten")
    await page.until("document.querySelectorAll('#graph .ill').length === 1", "the node is marked")
    await page.until("/did not hear/.test(document.getElementById('rejoins').innerText)", "its rejoin has the reason")
    await page.until("/1 node in trouble/.test(document.getElementById('attention').innerText)", "it needs attention")
    await page.run("document.querySelector('#rejoins button').click()")
    await page.until("document.querySelector('#explain-body strong')", "its rejoin is explained")
    assert await page.run(f"return {REPEATED}") == []
    await page.run("document.getElementById('explain').close()")
    near = {"anna", "bert", "cleo"}
    fleet.hears = fleet.links = lambda one, other: (one in near) == (other in near)
    await page.until("/partitioned/.test(document.getElementById('attention').innerText)", "the partition is told")
    await page.until("document.querySelectorAll('#graph .cut').length === 1", "its sides are drawn apart")
    assert "3 + 2 nodes have no path" in await page.text("graph")
    assert "is cut off by the partition" in await page.text("graph")
    await page.resize(390, 1100)
    await page.until(f"{CUT}.getAttribute('y1') === {CUT}.getAttribute('y2')", "on a phone one side is below the other")
    await page.resize(1280, 1100)
    await page.run("document.querySelector('#stores [data-key=\"why notes\"]').click()")
    await page.until("/3 \\+ 2 nodes/.test(document.getElementById('explain-body').innerText)", "a store is explained")
    await page.run("document.getElementById('explain').close()")
    fleet.hears = fleet.links = lambda one, other: True
    await page.until("/whole/.test(document.getElementById('stores').innerText)", "the store is whole again")
    await page.until(f"{ROTTEN} === 0 && !document.querySelector('#graph .cut')", "nothing is rotten")
    assert await page.complaints() == []


async def test_the_name_of_a_node_is_shown_wherever_its_id_is(page: StatusPage, fleet: FakeFleet, calls: Stub) -> None:
    await fleet.rename("anna", name := f"kitchen {MARKUP}"[:64])
    await calls.Rejoin(rejoin("anna", "notes"))
    await page.open()
    shown = f"{name} (anna)"
    await page.until("/kitchen .*[(]anna[)]/.test(document.getElementById('peers').innerText)", "it is beside the peer")
    await page.until("/kitchen .*[(]anna[)]/.test(document.getElementById('rejoins').innerText)", "and the rejoin")
    await page.until(
        "[...document.querySelectorAll('#graph title')].some(one => one.textContent.endsWith('(anna)'))", "and the node"
    )
    titles = "[...document.querySelectorAll('#peers .id')].map(one => one.title)"
    assert shown in await page.run(f"return {titles}")
    assert await page.complaints() == []


async def test_ages_are_true(page: StatusPage, fleet: FakeFleet) -> None:
    """A peer that stays online is in no difference, so its age in a list that follows differences grows for ever."""
    await page.open()
    ages = "[...document.querySelectorAll('#peers .rows .row')].map(row => parseFloat(row.children[2].innerText))"
    await page.until(f"{ages}.length === 5 && {ages}.every(age => age < 3)", "the ages are shown")
    await page.run("window.since = performance.now()")
    await page.until("performance.now() - window.since > 5000", "more time than any age passes")
    await page.until(f"{ages}.every(age => age < 3)", "the ages of peers that speak have not grown")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_it_is_accessible_and_fits_every_width(
    page: StatusPage, fleet: FakeFleet, calls: Stub, theme: str
) -> None:
    del fleet
    await calls.Rejoin(rejoin("old-laptop", "notes"))
    await page.open()
    await page.run("localStorage.setItem('theme', arguments[0])", theme)
    await page.open()
    await page.until("/old-laptop/.test(document.getElementById('parked').innerText)", "what is parked is shown")
    await page.until("document.querySelectorAll('#graph circle').length === 5", "the graph is drawn")
    folder = os.environ.get("GOSSIPCONTROL_SCREENSHOTS", "")
    for width in WIDTHS:
        await page.resize(width, 1100)
        assert await page.run("return document.documentElement.scrollWidth") <= width
        assert (
            await page.run("const it = document.getElementById('stores'); return it.scrollWidth - it.clientWidth") <= 0
        )
        assert await page.run("return document.documentElement.dataset.theme") == theme
        assert await serious(page) == []
        if folder:
            await page.save(f"{folder}/{theme}-{width}.png")
    for button, words in (("#peers button", "#explain-body strong"), ("#stores [data-key^=why]", "#explain-body li")):
        await page.run("document.querySelector(arguments[0]).click()", button)
        await page.until(f"document.querySelector('{words}')", "the explanation is shown")
        assert await serious(page) == []
    assert await page.complaints() == []


async def serious(page: StatusPage) -> list[str]:
    """What axe-core finds that keeps somebody from using the page."""
    found = find_spec("axe_core_python")
    assert found is not None
    assert found.origin is not None
    given = os.environ.get("GOSSIPCONTROL_AXE")
    axe = Path(given) if given else Path(found.origin).parent / "axe.min.js"
    await page.run(axe.read_text(encoding="utf-8"))
    script = (
        "const done = arguments[0]; axe.run().then(found => done(found.violations.map(one =>"
        " `${one.impact} ${one.id} ${one.nodes[0].html}`)), error => done([`critical ${error}`]))"
    )
    violations: list[str] = await page.answer(script)
    return [one for one in violations if one.startswith(("serious", "critical"))]


async def test_nothing_from_outside_is_read_as_markup(page: StatusPage, calls: Stub) -> None:
    ids = [MARKUP, "'\"><script>window.pwned=1</script>", "javascript:window.pwned=1", *HOSTILE.values()]
    names = [one for one in ids if len(one.encode()) <= 128]
    async with fake_fleet(calls, MARKUP, *names):
        await calls.Rejoin(rejoin(f"parked {MARKUP}", MARKUP))
        await page.open()
        await page.until(f"document.querySelectorAll('#graph circle').length === {len(names)}", "all are drawn")
        await page.until("document.querySelectorAll('#parked li strong').length === 1", "what is parked is shown")
        await page.until("document.querySelectorAll('#peers .rows .row').length > 5", "peers are shown")
        await page.run("document.querySelector('#parked button').click()")
        await page.until("document.querySelector('#explain-body strong')", "the explanation is shown")
        await page.run("document.querySelector('#stores [data-key^=why]').click()")
        await page.until("document.querySelector('#explain-body li')", "the store is explained")
        assert await page.run("return window.pwned") is None
        assert await page.run("return document.querySelectorAll('img').length") == 1
        assert await page.run("return document.querySelectorAll('main script').length") == 0
        shown = await page.run("return document.body.innerText + document.title")
        marks = await page.run(
            "return [...document.querySelectorAll('*')].flatMap(one => [...one.attributes])"
            ".filter(one => one.name !== 'data-key').map(one => one.value).join(' ')"
        )
        assert MARKUP in shown
        assert raw_characters(shown) == raw_characters(marks) == set()
        assert await page.complaints() == []


async def test_it_is_used_with_the_keyboard_alone(page: StatusPage, fleet: FakeFleet) -> None:
    del fleet
    await page.open()
    await page.until("document.querySelector('#graph .node')", "the graph is drawn")
    await page.run("document.querySelector('#graph .node').focus()")
    await page.do(lambda browser: ActionChains(browser).send_keys(Keys.ENTER).perform())
    await page.until("document.getElementById('explain').open", "Enter explains a node")
    await page.until("document.querySelector('#explain-body strong')", "the explanation is shown")
    await page.do(lambda browser: ActionChains(browser).send_keys(Keys.ESCAPE).perform())
    await page.until("!document.getElementById('explain').open", "Escape closes it")
    await page.run("document.querySelector('#stores button').focus(); window.looked = performance.now()")
    await page.until("performance.now() - window.looked > 2500", "the page looks again")
    assert await page.run("return document.activeElement.dataset.key") == "store notes"


async def test_everything_comes_from_the_service(page: StatusPage, fleet: FakeFleet) -> None:
    del fleet
    await page.open()
    await page.until("document.querySelector('#graph .node')", "the graph is drawn")
    loaded = await page.run("return performance.getEntriesByType('resource').map(one => one.name)")
    assert len(loaded) > 8
    assert [one for one in loaded if not one.startswith(page.base)] == []
    refused = (
        "const done = arguments[0]; fetch('https://example.org/').then(() => done('loaded'), () => done('refused'))"
    )
    assert await page.answer(refused) == "refused"


@pytest.mark.waits(20)
async def test_of_a_large_store_only_the_rows_that_are_seen_are_drawn(page: StatusPage, calls: Stub) -> None:
    await fill_store(calls, "large", 2000)
    async with fake_fleet(calls, "large", "peer-00000", "peer-00001"):
        await page.open("#store=large")
        await page.until("/2000 peers/.test(document.getElementById('peers').innerText)", "all peers are known")
        assert await page.run("return document.querySelectorAll('#peers .rows .row').length") < 40
        await page.run(
            "window.turns = []; new MutationObserver(list => window.turns.push("
            "list.reduce((sum, one) => sum + one.addedNodes.length, 0)"
            ")).observe(document.getElementById('peers'), { childList: true, subtree: true });"
            " document.querySelector('.virtual').scrollTop = 60000"
        )
        row = "document.querySelector('#peers .rows .row')"
        await page.until(f"parseInt({row}?.getAttribute('aria-rowindex')) > 1400", "rows far below are drawn")
        await page.until("window.turns.length > 2", "some updates have come")
        assert await page.run("return Math.max(...window.turns)") < 400
