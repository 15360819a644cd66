"""Whose word a batch of intentions is, for the calls that carry one."""

from __future__ import annotations

from collections.abc import Callable

from gossipcontrol.server.access.identity import Identity
from gossipcontrol.server.access.word import Words, speaks_for_all
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded
from gossipcontrol.server.runtime.slices import in_slices
from gossipcontrol.server.wire.decode_knowledge import intentions_recorded, signatures
from gossipcontrol.v1 import peer_knowledge_pb2 as pb


class IntentionSource:
    """Reads batches of intentions, each with whose word it is."""

    def __init__(self, words: Words, clock: Callable[[], float]) -> None:
        self._words = words
        self._clock = clock

    async def read(
        self, batch: pb.IntentionBatch, prefix: str, identity: Identity, sender_id: str = "", sequence: int = 0
    ) -> IntentionsRecorded:
        """The event of a batch at the path ``prefix`` of its message; raises InvalidRequest."""
        event = intentions_recorded(batch, prefix, self._clock(), sender_id, sequence)
        if speaks_for_all(identity):
            return event
        return await in_slices(self._words.weigh(event, signatures(batch, prefix), identity))
