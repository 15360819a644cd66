"""Carries out sync-with-peer commands: one per store and peer at a time, a bounded number side by side."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeAlias

from gossipcontrol.agent.event import error_text
from gossipcontrol.agent.faults import Faults
from gossipcontrol.agent.node import Node, SyncFailedError
from gossipcontrol.v1 import attach_pb2, liveness_pb2

TIMEOUT = 1.5
"""Seconds that one sync may take; the service probes across a partition every 2 s."""
AT_ONCE = 8
"""Most syncs carried out side by side."""
WAITING = 256
"""Most syncs that are under way or wait; further ones are refused."""
STALE = 5.0
"""Seconds after which an undelivered result is dropped: it says that two *are* in sync, which does not last."""

Key: TypeAlias = tuple[str, str]
"""Store and peer."""


class SyncExecutor:
    """Carries out commands; gives each result once, to the first stream that asks while it is fresh."""

    def __init__(
        self,
        node: Node,
        on_result: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        faults: Faults | None = None,
    ) -> None:
        self._node = node
        self._on_result = on_result
        self._clock = clock
        self._faults = faults or Faults()
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._nonces: dict[Key, int] = {}
        """The number of the newest request of each sync under way."""
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._results: dict[Key, tuple[float, attach_pb2.SyncResult]] = {}

    def submit(self, command: liveness_pb2.SyncWithPeer) -> None:
        """Carry out a command in the background; one that is under way already answers for both."""
        key = (command.store_id, command.peer_id)
        self._nonces[key] = command.nonce
        if key in self._tasks:
            return
        if len(self._tasks) >= WAITING:
            self._finish(key, f"{WAITING} syncs are under way already")
            return
        task = asyncio.get_running_loop().create_task(self._carry_out(key, list(command.addresses)))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key, None))

    def next_result(self) -> attach_pb2.SyncResult | None:
        """The oldest result that is still fresh; it stays until it is ``delivered``."""
        for key, (at, result) in list(self._results.items()):
            if self._clock() - at <= STALE:
                return result
            del self._results[key]
        return None

    def delivered(self, result: attach_pb2.SyncResult) -> None:
        """A stream has taken this result."""
        key = (result.store_id, result.peer_id)
        if key in self._results and self._results[key][1] is result:
            del self._results[key]

    async def close(self) -> None:
        """Stop what is under way."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry_out(self, key: Key, addresses: list[str]) -> None:
        error = ""
        try:
            async with self._slots, asyncio.timeout(TIMEOUT):
                await self._node.sync_with_peer(*key, addresses)
        except TimeoutError:
            error = f"not done within {TIMEOUT:g} s"
        except SyncFailedError as failure:
            error = str(failure) or "the sync failed"
        except Exception as failure:  # noqa: BLE001 - the user's code: the service must learn of its failure
            self._faults.node_raised("sync_with_peer")
            error = f"{type(failure).__name__}: {failure}"
        self._finish(key, error)

    def _finish(self, key: Key, error: str) -> None:
        store_id, peer_id = key
        result = attach_pb2.SyncResult(
            store_id=store_id,
            peer_id=peer_id,
            ok=not error,
            error=error_text(error),
            nonce=self._nonces.pop(key, 0),
        )
        self._results.pop(key, None)
        self._results[key] = (self._clock(), result)
        while len(self._results) > WAITING:
            del self._results[next(iter(self._results))]
        self._on_result()
