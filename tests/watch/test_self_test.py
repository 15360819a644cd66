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
from gossipcontrol.watch.self_test import self_test
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
    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        kinds: tuple[ChangeKind, ...] = ()
        for kind in kinds:
            yield kind


async def test_what_works_on_this_host() -> None:
    checks = {check.name: check for check in await self_test(Filter.default())}
    network = checks[f"network ({'iphlpapi' if sys.platform == 'win32' else 'rtnetlink'})"]
    assert network.works
    assert "gateways; watching" in network.text
    assert checks["power (ClockSource)"].text == "it listens"
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
        ("power (Ended)", False),
        ("power (MacPowerSource)", False),
    ]
    assert checks[0].text == "no sockets here; polling takes its place"
    assert "no-such-framework" in checks[2].text
