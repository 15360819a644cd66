"""Intentions for tests, and a service that keeps them in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from gossipcontrol.client import Intention, IntentionBatch
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Log, Metrics, State
from gossipcontrol.server.observe.log import make_logger

from tests.kit.address import listen_on


@asynccontextmanager
async def serving_in_memory(socket: Path) -> AsyncGenerator[None]:
    """The service on this socket."""
    config = Config(listen=listen_on(socket), metrics=Metrics(address=""), state=State(backend="memory"))
    app = App(config, make_logger(Log(level="error")))
    await app.start()
    try:
        yield
    finally:
        await app.stop()


def chain(author: str, number: int, *seen: bytes) -> list[Intention]:
    names = [b"%s%d" % (author.encode(), count) for count in range(number)]
    pairs = zip([b"", *names], names, strict=False)
    return [Intention(author_id=author, hash=name, store_prev=prev, dependencies=seen) for prev, name in pairs]


def batch(*intentions: Intention) -> IntentionBatch:
    return IntentionBatch("s", intentions)
