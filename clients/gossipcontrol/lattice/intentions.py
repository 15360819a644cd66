"""Brings the intentions of a store, as the daemon has them, into the service's knowledge."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from gossipcontrol.client.errors import NotFoundError
from gossipcontrol.client.intention import Intention, IntentionBatch
from gossipcontrol.client.knowledge import Knowledge
from gossipcontrol.lattice.calls import Calls, StoreGoneError

BATCH = 500
"""Intentions recorded with one call."""
LONGEST_WALK = 200_000
"""Intentions of one author that are brought after one change; a longer history is left out."""
REMEMBERED = 1000
"""Intentions read on the way back that are kept for the way forward."""

Read = Callable[[bytes], Awaitable[Intention]]


class IntentionFeed:
    """Of one store: knows the newest intention of each author that the service has."""

    def __init__(self, store_id: str, node_id: str, calls: Calls, knowledge: Knowledge) -> None:
        self._store_id = store_id
        self._node_id = node_id
        self._calls = calls
        self._knowledge = knowledge
        self._recorded: dict[str, set[bytes]] = {}
        """Author -> its newest intentions that the service has."""
        self._has_asked = False
        self.left_out: set[str] = set()
        """Authors whose history is too long."""

    async def bring(self) -> int:
        """Record what is new, oldest first; returns how many.

        Raises StoreGoneError and DaemonGoneError of the daemon, and ClientError of the service.
        """
        await self._ask_once()
        tips = await self._calls.tips(self._store_id)
        new = {one: tip for one, tip in tips.items() if one not in self.left_out and not self._has(one, tip)}
        # During a catch-up many float, for a minute and longer: they are there, and not applied.
        floating = await self._calls.floating(self._store_id) if new else {}
        count = 0
        for author, tip in new.items():
            with suppress(StoreGoneError):  # one of this author's is not there yet: the others are brought
                count += await self._bring_author(author, below(tip, floating))
        return count

    def _has(self, author: str, tip: bytes) -> bool:
        return tip in self._recorded.get(author, ())

    async def _ask_once(self) -> None:
        """Ask the service what it has: what this node is proved to hold was recorded."""
        if self._has_asked:
            return
        with suppress(NotFoundError):  # nothing of this store was recorded
            async for row in self._knowledge.rows(self._store_id, peer_id=self._node_id):
                for one in row.positions:
                    self._recorded.setdefault(one.author_id, set()).add(one.hash)
        self._has_asked = True

    async def _bring_author(self, author: str, tip: bytes) -> int:
        async def read(digest: bytes) -> Intention:
            return await self._calls.intention(self._store_id, digest)

        chain, kept = await walk_back(read, tip, self._recorded.get(author, set()))
        if len(chain) > LONGEST_WALK:
            self.left_out.add(author)
            return 0
        chain.reverse()
        for start in range(0, len(chain), BATCH):
            part = chain[start : start + BATCH]
            found = [kept.pop(digest) if digest in kept else await read(digest) for digest in part]
            await self._knowledge.record([IntentionBatch(self._store_id, tuple(found))])
            self._recorded[author] = {part[-1]}
        return len(chain)


def below(tip: bytes, floating: Mapping[bytes, bytes]) -> bytes:
    """The newest intention of a chain that does not float; empty where all do."""
    seen: set[bytes] = set()
    while tip in floating and tip not in seen:
        seen.add(tip)
        tip = floating[tip]
    return b"" if tip in seen else tip


async def walk_back(
    read: Read, tip: bytes, known: Sequence[bytes] | set[bytes]
) -> tuple[list[bytes], OrderedDict[bytes, Intention]]:
    """The hashes of an author's intentions from the tip back to a known one, and those read last."""
    chain: list[bytes] = []
    kept: OrderedDict[bytes, Intention] = OrderedDict()
    seen: set[bytes] = set()
    digest = tip
    while digest and digest not in known and digest not in seen and len(chain) <= LONGEST_WALK:
        intention = await read(digest)
        chain.append(digest)
        seen.add(digest)
        kept[digest] = intention
        if len(kept) > REMEMBERED:
            kept.popitem(last=False)
        digest = intention.store_prev
    return chain, kept
