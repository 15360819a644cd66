"""The signs of life of a peer that is mute to others: one identity that claims to hear it may be mistaken, or lie."""

from __future__ import annotations

from gossipcontrol.server.core.event import NEVER


class SecondWord:
    """When two identities besides the peer's own had heard it."""

    __slots__ = ("_newest", "_own", "_second", "_since")

    def __init__(self, own: str, since: float) -> None:
        self._own = own
        """The peer's identity, which never vouches for it."""
        self._since = since
        """What was heard until then counts, whoever said so."""
        self._newest = self._second = ("", NEVER)
        """The identity that heard it last, and when, and the last other one."""

    def hear(self, identity: str, at: float) -> None:
        """An identity says that it heard the peer then."""
        if identity == self._own:
            return
        if identity == self._newest[0]:
            self._newest = (identity, max(at, self._newest[1]))
        elif at > self._newest[1]:
            self._newest, self._second = (identity, at), self._newest
        elif at > self._second[1]:
            self._second = (identity, at)

    @property
    def at(self) -> float:
        """When it was heard last by the word of two."""
        return max(self._since, self._second[1])
