"""The write deadline of every stream: a client that does not read holds nothing for longer than that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gossipcontrol.server.errors import Overloaded

WRITE_TIME = 15.0
"""Seconds within which one message must be written; a client that reads anything takes milliseconds."""
READ_RETRY = 1.0
"""Seconds after which a client whose stream ended because it did not read may open another: its place is free at once,
so the delay only keeps a client that never reads from attaching in a loop."""

Message = TypeVar("Message")


async def write_within(write: Callable[[Message], Awaitable[None]], message: Message, seconds: float) -> None:
    """Write one message; raises Overloaded when the client did not let it be written in time."""
    try:
        async with asyncio.timeout(seconds):
            await write(message)
    except TimeoutError:
        raise Overloaded(f"the client read nothing for {seconds:g} s", READ_RETRY) from None
