"""A ledger in memory that several owners share, as those of one process share etcd; what it holds outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from gossipcontrol.server.state.ledger import Cut, Fenced, Register

Carry = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Carries out one step: a test makes delays, pauses and lost answers of it."""


async def at_once(step: Callable[[], Any]) -> Any:
    """Carry out a step now."""
    return step()


class MemoryLedger:
    """What is stored."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.head = 0
        self.registers: dict[str, Register] = {}
        self.stored: dict[tuple[str, int], bytes] = {}
        self.followers: set[asyncio.Event] = set()
        """Set when there is another entry."""
        self._revision = 0

    def link(self, carry: Carry = at_once) -> MemoryLedgerLink:
        """One owner's way to it."""
        return MemoryLedgerLink(self, carry)

    def append(self, seq: int, body: bytes) -> None:
        """Append, unless somebody else has."""
        if self.head == seq - 1:
            self.entries[seq], self.head = body, seq
            for one in self.followers:
                one.set()
        elif self.head != seq or self.entries.get(seq) != body:
            raise Fenced(f"the log's last entry is {self.head}, not {seq - 1}")

    def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        """Change a register that has this revision."""
        found = self.registers.get(name, Register(b"", 0))
        if found.revision == revision:
            self._revision += 1
            found = self.registers[name] = Register(value, self._revision)
        return found if found.value == value else None

    def delete(self, name: str) -> None:
        """Delete chunks."""
        for key in [key for key in self.stored if key[0] == name]:
            del self.stored[key]

    def cut(self, seq: int) -> None:
        """Delete entries."""
        for one in [one for one in self.entries if one < seq]:
            del self.entries[one]


class MemoryLedgerLink:
    """The interface of ``Ledger``."""

    def __init__(self, shared: MemoryLedger, carry: Carry) -> None:
        self._shared = shared
        self._carry = carry

    async def last(self) -> int:
        found: int = await self._carry(lambda: self._shared.head)
        return found

    async def append(self, seq: int, body: bytes) -> None:
        await self._carry(lambda: self._shared.append(seq, body))

    async def read(self, start: int) -> AsyncIterator[tuple[int, bytes]]:
        found = await self._carry(lambda: sorted(self._shared.entries.items()))
        for seq, body in found:
            if seq >= start:
                yield seq, body

    async def follow(self, start: int) -> AsyncGenerator[tuple[int, bytes]]:
        news = asyncio.Event()
        self._shared.followers.add(news)
        try:
            while True:
                news.clear()
                async for seq, body in self.read(start):
                    if seq != start:
                        raise Cut(f"entry {start} is not there any more")
                    yield seq, body
                    start = seq + 1
                await news.wait()
        finally:
            self._shared.followers.discard(news)

    async def register(self, name: str) -> Register:
        found: Register = await self._carry(lambda: self._shared.registers.get(name, Register(b"", 0)))
        return found

    async def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        found: Register | None = await self._carry(lambda: self._shared.swap(name, value, revision))
        return found

    async def put_chunk(self, name: str, number: int, body: bytes) -> None:
        await self._carry(lambda: self._shared.stored.update({(name, number): body}))

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        found = await self._carry(lambda: sorted(self._shared.stored.items()))
        for key, body in found:
            if key[0] == name:
                yield body

    async def chunk_names(self) -> set[str]:
        names: set[str] = await self._carry(lambda: {name for name, _ in self._shared.stored})
        return names

    async def delete_chunks(self, name: str) -> None:
        await self._carry(lambda: self._shared.delete(name))

    async def cut(self, seq: int) -> None:
        await self._carry(lambda: self._shared.cut(seq))

    async def close(self) -> None:
        """Nothing is open."""
