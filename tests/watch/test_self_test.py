"""The self-test of a watcher on this host, and with sources that do not work."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from gossipcontrol.watch import self_test as subject
from gossipcontrol.watch.change import ChangeKind, Snapshot
from gossipcontrol.watch.iokit import MacPowerSource
from gossipcontrol.watch.scope import Filter
from gossipcontrol.watch.self_test import Check, conclusion, self_test
from gossipcontrol.watch.source import NetworkSource, PowerSource


class Refused:
    name = "refused"

    def wake(self) -> None:
        raise AssertionError("nobody woke it")

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        for state in (Snapshot(),):
            if state == Snapshot():
                raise OSError("no sockets here")
            yield state


class Ended:
    name = "ended"

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        kinds: tuple[ChangeKind, ...] = ()
        for kind in kinds:
            yield kind


async def test_what_works_on_this_host() -> None:
    checks = {check.name: check for check in await self_test(Filter.default())}
    network = checks[f"network ({'iphlpapi' if sys.platform == 'win32' else 'rtnetlink'})"]
    assert network.works
    assert "links: " in network.text
    assert "; watching" in network.text
    assert checks["power (clocks)"].text == "it listens"
    assert checks["names"].works
    assert checks["clocks"].works


async def test_what_does_not_work_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    mac = MacPowerSource(str(tmp_path / "no-such-framework"))
    sources: tuple[NetworkSource, list[PowerSource]] = (Refused(), [Ended(), mac])

    def system_sources(chosen: Filter) -> tuple[NetworkSource, list[PowerSource]]:
        del chosen
        return sources

    monkeypatch.setattr(subject, "system_sources", system_sources)
    checks = await self_test(Filter.default())
    assert [(check.name, check.works) for check in checks[:3]] == [
        ("network (refused)", False),
        ("power (ended)", False),
        ("power (IOKit)", False),
    ]
    assert checks[0].text == "no sockets here; polling takes its place"
    assert "no-such-framework" in checks[2].text
    assert conclusion(checks) == "The network is polled; sleep is not seen."


@pytest.mark.parametrize(
    ("works", "said"),
    [
        ((True, True, True), "Changes of the network are reported at once; sleep is announced."),
        ((False, True, False), "The network is polled; sleep is announced."),
        ((False, False, True), "The network is polled; sleep is not announced, but a resume is seen by the clocks."),
        ((True, False, False), "Changes of the network are reported at once; sleep is not seen."),
    ],
)
def test_what_the_checks_mean_is_said_in_a_sentence(works: tuple[bool, ...], said: str) -> None:
    names = ("network (rtnetlink)", "power (logind)", "power (clocks)", "names")
    checks = [Check(name, well, "") for name, well in zip(names, (*works, True), strict=True)]
    assert conclusion(checks) == said
