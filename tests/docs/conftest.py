"""Fixtures of the documents' tests: a service that every client finds by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.markdown import TOP
from tests.kit.service_lab import Service, config, deciding, serving

HOST = "docs"
"""The host that clients take themselves to be on."""


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """A service on a Unix socket; the working directory is the repository."""
    settings = config(tmp_path, deciding=deciding())
    async with serving(replace(settings, listen=replace(settings.listen, http="127.0.0.1:0"))) as running:
        monkeypatch.setenv("GOSSIPCONTROL_ADDRESS", running.address)
        monkeypatch.setenv("GOSSIPCONTROL_HOST_ID", HOST)
        monkeypatch.chdir(TOP)
        yield running
