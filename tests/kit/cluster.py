"""Hosts with nodes on them that start together, and end together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.network import Host
from tests.kit.process import Process, Said

STORE = "notes"


class Cluster:
    """``async with`` starts all of it, and ends all of it, also when it could not start whole.

    Unix sockets cross network namespaces, so a service that serves the nodes can be asked from outside too.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: list[Process] = []
        self.ids: list[str] = []
        self._stack = AsyncExitStack()

    @property
    def address(self) -> str:
        """Of the service."""
        return f"unix:{self.directory}/gossipcontrol.sock"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _start(self) -> None:
        """Start everything, each in the stack."""
        raise NotImplementedError


def contact(said: Said, host: Host) -> str:
    """What others join a node through that said where it is: its id, and the address that they can dial."""
    where = next(str(address) for address in said["addresses"] if address.startswith(f"{host.address}:"))
    return f"{said['node']}@{where}"
