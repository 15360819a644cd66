"""A service that listens for HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.service_lab import Service, config, deciding, serving

ORIGIN = "http://localhost:5173"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    settings = config(tmp_path, deciding=deciding())
    listen = replace(settings.listen, http="127.0.0.1:0", http_origins=f"{ORIGIN}, http://status.example")
    async with serving(replace(settings, listen=listen)) as running:
        yield running


@pytest.fixture
def port(service: Service) -> int:
    return service.app.http_port
