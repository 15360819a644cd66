"""The clients, and a service for them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.clients.built import LANGUAGES, RUST_AGENT, Built, build
from tests.kit.service_lab import Service, config, deciding, serving


@pytest.fixture(scope="session", params=LANGUAGES, ids=lambda language: language.name)
def client(request: pytest.FixtureRequest) -> Built:
    return build(request.param)


@pytest.fixture(scope="session", params=["go", "rust", "typescript", "kotlin"])
def finding(request: pytest.FixtureRequest) -> Built:
    """A client that finds the owner among replicas."""
    return build(next(one for one in LANGUAGES if one.name == request.param))


@pytest.fixture(scope="session")
def typescript() -> Built:
    return build(next(one for one in LANGUAGES if one.name == "typescript"))


@pytest.fixture(scope="session")
def rust_agent() -> Built:
    return build(RUST_AGENT)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = config(tmp_path, deciding=deciding())
    listen = replace(settings.listen, http="127.0.0.1:0")
    async with serving(replace(settings, listen=listen)) as running:
        yield running
