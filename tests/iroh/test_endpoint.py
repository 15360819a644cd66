"""An endpoint is stopped to the end, however long that takes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
from gossipcontrol.iroh import endpoint
from gossipcontrol.iroh.endpoint import stop_endpoint

from tests.kit.until import until


async def test_a_stop_that_takes_long_goes_on_after_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half stopped, its socket would answer the pings of peers for ever, with the key of its successor."""
    monkeypatch.setattr(endpoint, "STOP_TIME", 0.01)
    drained, ended = asyncio.Event(), list[str]()

    async def shutdown() -> None:
        try:
            await drained.wait()
            ended.append("stopped")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    node: Any = SimpleNamespace(node=lambda: SimpleNamespace(shutdown=shutdown))
    await stop_endpoint(node)
    caller = asyncio.ensure_future(stop_endpoint(node))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    assert ended == []
    drained.set()
    await until(lambda: ended == ["stopped", "stopped"], "both have stopped")
