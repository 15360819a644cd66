"""The client of the command line: it gives the service's messages too, as ``--json`` shows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from gossipcontrol.client.call import Call, ListCall
from gossipcontrol.client.client import Client

MessageT = TypeVar("MessageT")


class MessageClient(Client):
    """A Client that can also make the calls of ``gossipcontrol.client.call``; raises ClientError like it."""

    async def message(self, call: Call[MessageT, Any]) -> MessageT:
        """The answer as a message."""
        return await self._transport.message(call)

    def messages(self, call: ListCall[MessageT, Any]) -> AsyncIterator[MessageT]:
        """The items of every page as messages."""
        return self._transport.each(call.messages())
