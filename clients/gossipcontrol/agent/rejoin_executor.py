"""Carries out the service's commands: each attempt once, within its deadline."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from gossipcontrol.agent.event import error_text
from gossipcontrol.agent.faults import Faults
from gossipcontrol.agent.node import BootstrapPeer, Node, RejoinFailedError
from gossipcontrol.client.enumeration import Rung
from gossipcontrol.v1 import attach_pb2

REMEMBERED = 4096
"""Most results remembered, so that a command that comes again is not carried out again: after the owner changed, that
is one for each store in which a rejoin runs."""
AT_ONCE = 64
"""Most rejoins carried out side by side."""

Key = tuple[str, int]
"""Rejoin id and attempt."""


class RejoinExecutor:
    """Carries out each attempt once; ``undelivered`` are the results that no stream has delivered yet."""

    def __init__(self, node: Node, on_result: Callable[[], None], faults: Faults | None = None) -> None:
        self._node = node
        self._on_result = on_result
        self._faults = faults or Faults()
        self._results: OrderedDict[Key, attach_pb2.RejoinResult | None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self.undelivered: dict[Key, attach_pb2.RejoinResult] = {}

    def submit(self, command: attach_pb2.RejoinCommand) -> None:
        """Carry out a command in the background, or give the result of the one that was carried out already."""
        key = (command.rejoin_id, command.attempt)
        if key in self._results:
            result = self._results[key]
            if result is not None:
                self._finish(key, result)
            return
        self._results[key] = None
        oldest = next(iter(self._results))
        if len(self._results) > REMEMBERED and self._results[oldest] is not None:  # what is under way is remembered
            del self._results[oldest]
        task = asyncio.get_running_loop().create_task(self._carry_out(key, command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry_out(self, key: Key, command: attach_pb2.RejoinCommand) -> None:
        result = attach_pb2.RejoinResult(rejoin_id=command.rejoin_id, attempt=command.attempt)
        try:
            async with asyncio.timeout(command.deadline_ms / 1000), self._slots:
                await self._node.rejoin(command.store_id, _bootstrap(command), Rung(command.rung))
            result.ok = True
        except TimeoutError:
            result.error = f"not done within {command.deadline_ms / 1000:g} s"
        except RejoinFailedError as error:
            result.error, result.permanent = error_text(str(error)), error.permanent
        except Exception as error:  # noqa: BLE001 - the node is the user's code; the service must learn of its failure
            self._faults.node_raised("rejoin")
            result.error = error_text(f"{type(error).__name__}: {error}")
        self._finish(key, result)

    def _finish(self, key: Key, result: attach_pb2.RejoinResult) -> None:
        if key in self._results:
            self._results[key] = result
        self.undelivered[key] = result
        self._on_result()


def _bootstrap(command: attach_pb2.RejoinCommand) -> list[BootstrapPeer]:
    return [BootstrapPeer(peer.peer_id, tuple(peer.addresses)) for peer in command.bootstrap]
