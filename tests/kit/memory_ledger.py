"""A ledger in memory that several owners share, as those of one process share etcd; what it holds outlives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from gossipcontrol.server.state.ledger import Fenced, Register


async def at_once() -> None:
    """Do not wait."""


class MemoryLedger:
    """``before`` and ``after`` are awaited around each step: a test makes pauses and lost answers of them."""

    def __init__(self) -> None:
        self.entries: dict[int, bytes] = {}
        self.head = 0
        self.registers: dict[str, Register] = {}
        self.stored: dict[tuple[str, int], bytes] = {}
        self._revision = 0

    def link(
        self, before: Callable[[], Awaitable[None]] = at_once, after: Callable[[], Awaitable[None]] = at_once
    ) -> MemoryLedgerLink:
        """One owner's way to it."""
        return MemoryLedgerLink(self, before, after)

    def append(self, seq: int, body: bytes) -> None:
        """Append, unless somebody else has."""
        if self.head == seq - 1:
            self.entries[seq], self.head = body, seq
        elif self.head != seq or self.entries.get(seq) != body:
            raise Fenced(f"the log's last entry is {self.head}, not {seq - 1}")

    def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        """Change a register that has this revision."""
        found = self.registers.get(name, Register(b"", 0))
        if found.revision == revision:
            self._revision += 1
            found = self.registers[name] = Register(value, self._revision)
        return found if found.value == value else None


class MemoryLedgerLink:
    """The interface of ``Ledger``."""

    def __init__(
        self, shared: MemoryLedger, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]
    ) -> None:
        self._shared = shared
        self._before = before
        self._after = after

    async def last(self) -> int:
        await self._before()
        last = self._shared.head
        await self._after()
        return last

    async def append(self, seq: int, body: bytes) -> None:
        await self._before()
        self._shared.append(seq, body)
        await self._after()

    async def read(self, start: int) -> AsyncIterator[tuple[int, bytes]]:
        await self._before()
        for seq in sorted(self._shared.entries):
            if seq >= start:
                yield seq, self._shared.entries[seq]

    async def register(self, name: str) -> Register:
        await self._before()
        found = self._shared.registers.get(name, Register(b"", 0))
        await self._after()
        return found

    async def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        await self._before()
        swapped = self._shared.swap(name, value, revision)
        await self._after()
        return swapped

    async def put_chunk(self, name: str, number: int, body: bytes) -> None:
        await self._before()
        self._shared.stored[name, number] = body
        await self._after()

    async def chunks(self, name: str) -> AsyncIterator[bytes]:
        await self._before()
        for key in sorted(self._shared.stored):
            if key[0] == name:
                yield self._shared.stored[key]

    async def chunk_names(self) -> set[str]:
        await self._before()
        return {name for name, _ in self._shared.stored}

    async def delete_chunks(self, name: str) -> None:
        await self._before()
        for key in [key for key in self._shared.stored if key[0] == name]:
            del self._shared.stored[key]

    async def cut(self, seq: int) -> None:
        await self._before()
        for one in [one for one in self._shared.entries if one < seq]:
            del self._shared.entries[one]

    async def close(self) -> None:
        """Nothing is open."""
