"""A service with its page, and a browser that looks at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import Metrics
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from selenium.webdriver import Chrome

from tests.kit.browser import alone, browser
from tests.kit.service_lab import Service, config, deciding, serving
from tests.kit.status_page import StatusPage

QUICK = LivenessParameters(
    report_interval=0.25, suspect_floor=1.0, offline_after=5.0, isolated_after=0.5, rot_window=2.0,
    suspicion_interval=2.0,
)  # fmt: skip


@pytest.fixture
def turn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take a turn at a browser, among all workers."""
    with alone(tmp_path_factory.getbasetemp().parent / "browser.lock"):
        yield


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


@pytest.fixture
async def page(turn: None, chromium: Chrome, watched: Service) -> AsyncIterator[StatusPage]:
    del turn
    shown = StatusPage(chromium, f"http://127.0.0.1:{watched.app.metrics_port}/")
    await shown.complaints()
    yield shown
    await shown.do(lambda page: page.get("about:blank"))
