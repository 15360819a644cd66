"""What a swarm and a fleet have in common: nodes on hosts of their own that start and stop together."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kit.network import Host
from tests.kit.process import Line, Process

STORE = "notes"


class Cluster:
    """``async with`` starts every process, and stops them at the end, also when one of them fails to start.

    Unix sockets cross network namespaces, so a test reaches the service of the nodes from outside.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes: list[Process] = []
        self.ids: list[str] = []
        self._stack = AsyncExitStack()

    @property
    def address(self) -> str:
        """The address of the service."""
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
        """Start every process, and enter it in the stack that stops it."""
        raise NotImplementedError


def contact(line: Line, host: Host) -> str:
    """A node's id and the address that others dial, for ``--peer``, from the line in which it reports both."""
    where = next(str(address) for address in line["addresses"] if address.startswith(f"{host.address}:"))
    return f"{line['node']}@{where}"
