"""A reporter at work beside the real service, over a real local socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeVar

from gossipcontrol.client import Client, ClientError
from gossipcontrol.server.app import App
from gossipcontrol.server.config import Config, Limits, Log, Metrics, State
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.watch.change import Change
from gossipcontrol.watch.reporter import Delivery, Reporter
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.address import listen_on, local_address

T = TypeVar("T")
LIMIT = 30.0


class Desk:
    """A reporter at work, and all that it said."""

    def __init__(self, client: Client, host_id: str = "h") -> None:
        self.delivered: list[Delivery] = []
        self.failed: list[ClientError] = []
        self.refused: list[tuple[Change, ClientError]] = []
        self._news = asyncio.Event()
        self.reporter = Reporter(
            client,
            host_id=host_id,
            boot_id="b",
            on_delivery=lambda delivery: self._say(self.delivered, delivery),
            on_failure=lambda error: self._say(self.failed, error),
            on_refusal=lambda change, error: self._say(self.refused, (change, error)),
        )

    def _say(self, book: list[T], entry: T) -> None:
        book.append(entry)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(LIMIT):
            while not condition():
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def serving(path: Path) -> AsyncGenerator[App]:
    """The real service."""
    config = Config(
        listen=listen_on(path),
        metrics=Metrics(address=""),
        state=State(backend="memory"),
        limits=Limits(drain=0.1),
    )
    app = App(config, make_logger(Log()))
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@asynccontextmanager
async def desk_for(path: Path, host_id: str = "h") -> AsyncGenerator[Desk]:
    async with Client(local_address(path), timeout=0.3) as client:
        desk = Desk(client, host_id)
        running = asyncio.create_task(desk.reporter.run())
        try:
            yield desk
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running


def changes_counted(app: App) -> dict[str, float]:
    """What the service counted, by kind."""
    text = generate_latest(app.metrics.registry).decode()
    return {
        sample.labels["kind"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "gossipcontrol_network_changes_total" and sample.value
    }
