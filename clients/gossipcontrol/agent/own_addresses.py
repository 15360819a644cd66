"""Keeps the registered addresses true: a node learns of a change of its host later than the host's watcher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from gossipcontrol.agent.dialable import DialableAddresses
from gossipcontrol.agent.faults import Faults
from gossipcontrol.agent.node import AddressReader, Node

STEP = 0.5
"""Seconds between two looks while the addresses settle; the least between two registrations because of them."""
SETTLED = 5.0
"""Seconds without a change after which they are settled: iroh 0.35 follows its host's network within 3."""
LONGEST = 60.0
"""Seconds after which no node's addresses are looked at any longer than with every report."""
READ_TIME = 1.0
"""Seconds that a node has to read its own addresses."""


class OwnAddresses:
    """``run`` calls ``register`` when what it should say is no longer what was registered."""

    def __init__(
        self,
        node: Node,
        register: Callable[[], None],
        faults: Faults,
        *,
        on_change: Callable[[Sequence[str]], None] = lambda addresses: None,
        dialable: DialableAddresses | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._node = node
        self._register = register
        self._faults = faults
        self._on_change = on_change
        self._dialable = dialable or DialableAddresses()
        self._clock = clock
        self._sleep = sleep
        self._registered: frozenset[str] | None = None
        self._wanted = asyncio.Event()
        self._confirm = False
        """Whether they must be registered even if they are the same."""
        self._is_settling = False
        self._settled_at = self._give_up_at = float("-inf")
        """When they count as settled unless they change again, and when even if they do."""

    def read(self) -> tuple[str, ...]:
        """The addresses to register now; from here on they count as registered."""
        addresses, before = self._dialable.of(self._node.addresses()), self._registered
        self._registered, self._confirm = frozenset(addresses), False
        if before is not None and before != self._registered:
            self._on_change(addresses)
        return addresses

    async def refresh(self) -> None:
        """Have the node read its own addresses, if it can; one that fails keeps those that it has."""
        if isinstance(self._node, AddressReader):
            try:
                async with asyncio.timeout(READ_TIME):
                    await self._node.refresh_addresses()
            except Exception:  # noqa: BLE001 - the node is the user's code
                self._faults.node_raised("refresh_addresses")

    def look(self) -> None:
        """Compare them soon with what is registered."""
        self._wanted.set()

    def network_changed(self) -> None:
        """Confirm them to the service now, and again once they have settled; until then look often."""
        now = self._clock()
        self._settled_at, self._give_up_at = now + SETTLED, now + LONGEST
        self._is_settling = self._confirm = True
        self._wanted.set()

    async def run(self) -> None:
        """Look whenever it is wanted, and often while they settle."""
        while True:
            if not self._is_settling:
                await self._wanted.wait()
            self._wanted.clear()
            await self._look()
            await self._sleep(STEP)

    async def _look(self) -> None:
        await self.refresh()
        try:
            is_new = frozenset(self._dialable.of(self._node.addresses())) != self._registered
        except Exception:  # noqa: BLE001 - the node is the user's code
            self._faults.node_raised("addresses")
            return
        now = self._clock()
        if is_new:
            self._settled_at = now + SETTLED
        # Once more at the end: a watcher's report that comes after the confirmation makes the service doubt it again.
        has_settled = self._is_settling and now >= min(self._settled_at, self._give_up_at)
        if has_settled:
            self._is_settling = False
        if is_new or has_settled or self._confirm:
            self._register()
