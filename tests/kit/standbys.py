"""Replicas without an engine that they share: one real service, beside real standbys that refuse and name it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gossipcontrol.server.access.entrance import Entrances
from gossipcontrol.server.app import SERVICES, App
from gossipcontrol.server.config import Config, Limits, Listen, Log, Metrics, State
from gossipcontrol.server.errors import NotOwner
from gossipcontrol.server.observe.log import make_logger
from gossipcontrol.server.replicas.standby import Standby
from gossipcontrol.server.rpc.options import server_options

from tests.kit.ports import free_ports


class Replicas:
    """Some replicas by number, whose state is one file; ``owner`` is the address that the standbys name."""

    def __init__(self, settings: list[Config], addresses: list[str]) -> None:
        self.addresses = addresses
        self.owner = ""
        self.refused: list[int] = [0] * len(settings)
        """Calls that each has refused."""
        self._settings = settings
        self._standbys: dict[int, Standby] = {}
        self._serving: tuple[int, App] | None = None

    @property
    def listed(self) -> str:
        """All addresses, as a client is given them."""
        return ",".join(self.addresses)

    async def serve(self, number: int | None) -> None:
        """Have this one serve, and all others stand by; None: none serves."""
        await self.leave()
        self.owner = "" if number is None else self.addresses[number].removeprefix("tls:")
        if number is not None:
            await self.end(number)
            app = App(self._settings[number], make_logger(Log(level="error")))
            await app.start()
            self._serving = (number, app)
        for one in range(len(self._settings)):
            if one != number and one not in self._standbys:
                await self._stand_by(one)

    async def leave(self) -> None:
        """End the one that serves; the others name it still."""
        if self._serving is not None:
            _, app = self._serving
            self._serving = None
            await app.stop()

    async def end(self, number: int) -> None:
        """End a standby: nobody listens at its address."""
        standby = self._standbys.pop(number, None)
        if standby is not None:
            await standby.stop()

    async def close(self) -> None:
        """End all."""
        await self.leave()
        for number in list(self._standbys):
            await self.end(number)

    async def _stand_by(self, number: int) -> None:
        def refusal() -> NotOwner:
            self.refused[number] += 1
            return NotOwner(f"this replica stands by; {self.owner or 'none'} serves", self.owner)

        settings = self._settings[number]
        entrances = Entrances(settings, lambda error: None)
        standby = Standby(entrances, server_options(settings.limits), SERVICES, refusal, lambda path, error: None)
        await standby.start("")
        self._standbys[number] = standby


@asynccontextmanager
async def replicas(
    directory: Path, count: int = 3, hosts: tuple[str, ...] = (), **sections: Any
) -> AsyncGenerator[Replicas]:
    """So many replicas, of which the first serves; ``hosts``: loopback addresses, all with one port."""
    ports = free_ports(1) * count if hosts else free_ports(count)
    places = [f"{host}:{port}" for host, port in zip(hosts or ["127.0.0.1"] * count, ports, strict=True)]
    plain = Config(
        metrics=Metrics(address=""), limits=Limits(drain=0.05), state=State(path=str(directory / "state.db"))
    )
    made = Replicas([replace(plain, listen=Listen(socket="", tcp=one), **sections) for one in places], places)
    try:
        await made.serve(0)
        yield made
    finally:
        await made.close()
