"""A log that several replicas share, of which one at a time may append: the interface, and how it fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import NamedTuple, Protocol


class Fenced(Exception):
    """Somebody else has appended, or swapped: a newer owner. It is final for whoever gets it."""


class Late(Exception):
    """Whether it was done is not known, and the same must be tried again; the message is for an operator."""


class Cut(Exception):
    """An entry that is wanted was deleted: a snapshot covers it."""


class Register(NamedTuple):
    """A value that is changed by comparing and swapping."""

    value: bytes
    """Empty: it was never written."""
    revision: int
    """Of its last change; 0: it was never written."""


class Ledger(Protocol):
    """Entries with numbers from 1 on, registers, and chunks. Every call but ``close`` may raise ``Late``.

    Whatever is written is distinct: to write the same again is to ask whether it was written.
    """

    async def last(self) -> int:
        """Number of the last entry; 0: there is none."""
        ...

    async def append(self, seq: int, body: bytes) -> None:
        """Append an entry, whose predecessor must be the last one; raises Fenced if it is not.

        The entry that is the last one already, with the same body, counts as appended now.
        """
        ...

    def read(self, start: int) -> AsyncIterator[tuple[int, bytes]]:
        """The entries from this number on, in order."""
        ...

    def follow(self, start: int) -> AsyncGenerator[tuple[int, bytes]]:
        """The same and all that come later, as they come, without an end.

        Raises ``Cut`` where an entry is missing, and ``Late`` after a while without an answer: ask again for the next.
        """
        ...

    async def register(self, name: str) -> Register:
        """The register of this name."""
        ...

    async def swap(self, name: str, value: bytes, revision: int) -> Register | None:
        """Change a register that has this revision; None: it has another one."""
        ...

    async def put_chunk(self, name: str, number: int, body: bytes) -> None:
        """Store one chunk of something large."""
        ...

    def chunks(self, name: str) -> AsyncIterator[bytes]:
        """The chunks of this name by number."""
        ...

    async def chunk_names(self) -> set[str]:
        """The names of all chunks that are stored."""
        ...

    async def delete_chunks(self, name: str) -> None:
        """Delete all chunks of this name."""
        ...

    async def cut(self, seq: int) -> None:
        """Delete the entries before this one; ``seq`` must not be behind the last."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...
