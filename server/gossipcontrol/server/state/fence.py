"""What an owner of a ledger asks before effects leave."""

from __future__ import annotations

from typing import Protocol


class Fence(Protocol):
    """Who owns the ledger."""

    epoch: int
    """Of this owner: larger than that of every owner before."""

    async def sure(self) -> None:
        """Return once nobody else can own the ledger, at once if that is known; raises Fenced."""
        ...
