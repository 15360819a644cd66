"""The membership of one store: who was added and removed, who is about to leave, and the way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gossipcontrol.server.core.knowledge.event import Member

UNDO_LIMIT = 16
"""Most changes of a store that can be undone, the newest first."""
UNDO_PEERS = 4000
"""Most peers that these name together: the oldest change is given up first."""


class Standing(NamedTuple):
    """How a peer stands."""

    added: str | None
    """The lowest incarnation it may be in, if it was added by name."""
    removed: bool
    leaves_at: float | None
    """Service time until which it still counts, though it was removed."""
    voided: tuple[str, ...]
    """Incarnations that do not count."""


class Undone(NamedTuple):
    """What an undo did."""

    peer_ids: tuple[str, ...] = ()
    """The peers that stand as before the change."""
    has_risen: bool = False
    """Whether the frontier may have risen by the change: then others may have pruned what a restored peer lacks."""


Change = dict[str, Standing]
"""The peers that a change named, and how each stood before."""


class Membership:
    """Every author is a member, and so is who was added, unless it was removed.

    A removed peer may still count for some time, in which an undo restores everything.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.added: dict[str, str] = {}
        """Peers added by name -> the lowest incarnation each may be in."""
        self.removed: set[str] = set()
        self.leaving: dict[str, float] = {}
        """Peers that were removed and still count -> until when (service time)."""
        self.voided: dict[str, set[str]] = {}
        """Peers -> incarnations that do not count, because an admin put a lower one in their place."""
        self.changes: deque[Change] = deque(maxlen=UNDO_LIMIT)
        """The newest changes, the newest last."""

    @property
    def size(self) -> int:
        """Number of peers that are remembered, those of changes included."""
        return len(self.added) + len(self.removed) + len(self.leaving) + sum(map(len, self.changes))

    def standing(self, peer_id: str) -> Standing:
        """How a peer stands."""
        voided = tuple(sorted(self.voided.get(peer_id, ())))
        return Standing(self.added.get(peer_id), peer_id in self.removed, self.leaving.get(peer_id), voided)

    def change(
        self,
        added: Sequence[Member],
        removed: Sequence[str],
        labels: Mapping[str, Iterable[str]],
        leaves_at: float | None,
    ) -> int:
        """Add and remove peers; return how many could not be remembered.

        ``labels`` are the incarnations known of those whose incarnation is lowered. Without ``leaves_at`` removed
        peers count no longer.
        """
        before = {peer: self.standing(peer) for peer in (*(one.peer_id for one in added), *removed)}
        refused = self._add(added, labels) + self._remove(removed, leaves_at)
        # A call that is made again, because its answer was lost, is no change of its own.
        if before != {peer: self.standing(peer) for peer in before}:
            self.changes.append(before)
            while sum(map(len, self.changes)) > UNDO_PEERS:
                self.changes.popleft()
        return refused

    def _add(self, added: Sequence[Member], labels: Mapping[str, Iterable[str]]) -> int:
        refused = 0
        for member in added:
            peer_id = member.peer_id
            self.removed.discard(peer_id)
            self.leaving.pop(peer_id, None)
            known = self.added.get(peer_id)
            if known is None and len(self.added) + len(self.removed) >= self._limit:
                refused += 1
            elif member.lower:
                self.added[peer_id] = member.incarnation
                self._void(peer_id, [one for one in labels[peer_id] if one > member.incarnation])
            else:
                self.added[peer_id] = max(known or "", member.incarnation)
                self.voided.get(peer_id, set()).discard(member.incarnation)
        return refused

    def _remove(self, removed: Sequence[str], leaves_at: float | None) -> int:
        refused = 0
        for peer_id in removed:
            if peer_id in self.removed or (leaves_at is not None and peer_id in self.leaving):
                continue
            if len(self.added) + len(self.removed) + len(self.leaving) >= self._limit:
                refused += 1
            elif leaves_at is None:
                self.leaving.pop(peer_id, None)
                self.removed.add(peer_id)
            else:
                self.leaving[peer_id] = leaves_at
        return refused

    def undo(self) -> Undone:
        """Have the peers of the newest change stand as before it."""
        if not self.changes:
            return Undone()
        change = self.changes.pop()
        has_risen = any(self._let_rise(peer, before) for peer, before in change.items())
        for peer_id, before in change.items():
            self._restore(peer_id, before)
        return Undone(tuple(change), has_risen)

    def _let_rise(self, peer_id: str, before: Standing) -> bool:
        """Whether what became of a peer since then may have let the frontier rise."""
        now = self.standing(peer_id)
        return (now.removed and not before.removed) or now.voided != before.voided

    def is_due(self, now: float) -> bool:
        """Whether somebody's time is over."""
        return bool(self.leaving) and min(self.leaving.values()) <= now

    def depart(self, now: float) -> list[str]:
        """Those whose time is over, who count no longer."""
        gone = [peer_id for peer_id, leaves_at in self.leaving.items() if leaves_at <= now]
        for peer_id in gone:
            del self.leaving[peer_id]
            self.removed.add(peer_id)
        return gone

    def _restore(self, peer_id: str, before: Standing) -> None:
        self.added.pop(peer_id, None)
        self.removed.discard(peer_id)
        self.leaving.pop(peer_id, None)
        self.voided.pop(peer_id, None)
        if before.added is not None:
            self.added[peer_id] = before.added
        if before.removed:
            self.removed.add(peer_id)
        if before.leaves_at is not None:
            self.leaving[peer_id] = before.leaves_at
        self._void(peer_id, before.voided)

    def _void(self, peer_id: str, labels: Iterable[str]) -> None:
        if voided := {*self.voided.get(peer_id, ()), *labels}:
            self.voided[peer_id] = voided

    # Snapshots.

    def capture(self) -> dict[str, Any]:
        """All of it, for the header of a snapshot."""
        found: dict[str, Any] = {"added": dict(self.added), "removed": sorted(self.removed)}
        if self.changes:
            found["changes"] = [[(peer, *before) for peer, before in change.items()] for change in self.changes]
        if self.leaving or self.voided:
            voided = {peer: sorted(labels) for peer, labels in self.voided.items()}
            found |= {"leaving": dict(self.leaving), "voided": voided}
        return found

    def restore(self, header: dict[str, Any]) -> None:
        """Take what was captured; raises KeyError, TypeError or ValueError."""
        self.added, self.removed = dict(header["added"]), set(header["removed"])
        self.leaving = dict(header.get("leaving", {}))
        self.voided = {peer: set(labels) for peer, labels in header.get("voided", {}).items()}
        for change in header.get("changes", ()):
            self.changes.append(
                {
                    peer: Standing(added, removed, leaves_at, tuple(voided))
                    for peer, added, removed, leaves_at, voided in change
                }
            )
