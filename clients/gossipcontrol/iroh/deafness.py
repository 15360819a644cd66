"""How long a node has heard nobody, and whether its endpoint is at fault: then only a new one helps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from gossipcontrol.iroh.endpoint import TRUSTED_FOR

ENDPOINT_KEPT = 60.0
"""Seconds without a word from any peer after which a new endpoint is worth its harm."""
STUCK_TIME = 6.0
"""Seconds after which an endpoint that sends on a silent path goes on with that for long: a ping takes at most 5."""


class Deafness:
    """What one node has heard of its peers, and since when its endpoint sends to some of them on a silent path."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard_at = clock()
        self._message_at = clock()
        self._broke_at = -math.inf
        """When, first since the last message, links may have died."""
        self._stayed_at = -math.inf
        """When the node last resubscribed on its present endpoint."""
        self._patience = ENDPOINT_KEPT
        """Seconds without a word after which the node moves by itself."""
        self._has_left_stuck = False
        self._silent_since: dict[str, float] = {}

    def heard(self) -> None:
        """A peer came up, was heard, or was synced with."""
        self._heard_at, self._patience, self._has_left_stuck = self._clock(), ENDPOINT_KEPT, False

    def message(self) -> None:
        """A message was heard."""
        self._message_at = self._clock()
        self.heard()

    def broke(self) -> None:
        """Links may have died: the network changed, or a neighbour was lost."""
        if self._broke_at <= self._message_at:
            self._broke_at = self._clock()

    def stayed(self) -> None:
        """The node resubscribed on its present endpoint."""
        self._stayed_at = self._clock()

    def moved(self) -> None:
        """The node is on a new endpoint."""
        self._broke_at = self._stayed_at = -math.inf
        self._silent_since = {}

    def has_stayed_in_vain(self) -> bool:
        """Whether no message was heard since the node resubscribed on its present endpoint."""
        return self._stayed_at > self._message_at

    def keeps_dead_links(self) -> bool:
        """Whether to resubscribe on the present endpoint brings dead links back.

        iroh-gossip 0.35 leaves a topic only with the next message in it (``net.rs``: closed subscriptions are dropped
        when there is something to hand over). While links are dead none comes, and the new subscription gets the old
        links, listed as neighbours. iroh moves links to another path within 6.5 s, or not at all.
        """
        is_broken = self._broke_at > self._message_at and self._clock() - self._broke_at >= TRUSTED_FOR.total_seconds()
        return is_broken or self.has_stayed_in_vain()

    def look(self, silent: Collection[str]) -> None:
        """The endpoint sends to these peers on a silent path now (``silent_paths``)."""
        now = self._clock()
        self._silent_since = {one: self._silent_since.get(one, now) for one in silent}

    def is_long(self) -> bool:
        """Whether nobody was heard for so long that a new endpoint is worth its harm."""
        return self._deaf_for() >= ENDPOINT_KEPT

    def is_doubtful(self) -> bool:
        """Whether nobody was heard for so long that an endpoint that reaches nobody may itself be at fault."""
        return self._deaf_for() >= TRUSTED_FOR.total_seconds()

    def is_stuck(self, peers: Collection[str]) -> bool:
        """Whether the endpoint goes on sending to one of these peers on a silent path, so that no dial succeeds."""
        now = self._clock()
        return any(now - self._silent_since.get(one, now) >= STUCK_TIME for one in peers)

    def is_over_patience(self, peers: Collection[str]) -> bool:
        """Whether the node should move by itself.

        Each time it then waits twice as long. That the endpoint is stuck makes it move once until a peer is heard.
        """
        deaf_for = self._deaf_for()
        if deaf_for >= self._patience:
            self._patience = 2 * deaf_for
            return True
        if self._has_left_stuck or not self.is_doubtful() or not self.is_stuck(peers):
            return False
        self._has_left_stuck = True
        return True

    def _deaf_for(self) -> float:
        return self._clock() - self._heard_at
