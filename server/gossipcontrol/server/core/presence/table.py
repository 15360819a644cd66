"""Every tracked (store, peer) as a row in flat columns, so that a million of them fit in memory."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import chain

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.change import ChangeLog
from gossipcontrol.server.core.presence.draw import RowPool
from gossipcontrol.server.core.presence.record import PeerRecord, PeerState

FREE = 0
"""The state of a row that is free, or not evaluated yet."""
MAX_OBSERVERS = 256
"""Most observers of a store that are told apart, and so counted."""
INTERNED_IDS = 32_768
"""Most peer ids interned, so that stores share their strings; more than the default limit of nodes."""
PRIOR_TAIL = 2.0
"""Seconds; assumed before any peak was seen."""
INTERNED_MASKS = 65_536
"""Most observer sets interned, so that rows share them."""
ONLINE = PeerState.ONLINE
STATES: tuple[PeerState, ...] = tuple(PeerState)
UNCONFIRMED = 64
"""Most peers of one store that an identity alone names, where others speak too: who invents names invents many."""
FEW_SPEAK = 3
"""With more peers that speak themselves, only those are kept in the order in which they were heard: the others, which
anybody can invent, must not hide them.
"""
SPEAKING = 300.0
"""Seconds for which an identity counts among those that speak in a store."""


class Store:
    """The peers of a store by id, those heard last at the end, and the state of the store as a whole."""

    __slots__ = (
        "_joined",
        "_newest",
        "_ordered",
        "_second",
        "bits",
        "changes",
        "claims",
        "counts",
        "evictable",
        "evictable_until",
        "index",
        "informed_until",
        "oldest_at",
        "online_others",
        "online_speakers",
        "overdue",
        "speaking",
        "store_id",
        "tail",
    )

    def __init__(self, store_id: str, changes: ChangeLog, places: array[int]) -> None:
        self.store_id = store_id
        self.online_speakers, self.online_others = RowPool(places), RowPool(places)
        """The peers that are ONLINE: those that speak to the service themselves, and the others."""
        self.index: dict[str, int] = {}
        """Peer -> row."""
        self.bits: dict[str, int] = {}
        """Observer -> its bit in the observer sets."""
        self.claims: dict[str, int] = {}
        """Identity -> number of peers that only it named."""
        self._newest = self._second = ("", NEVER)
        """The identity that spoke last, and when, and the last other one."""
        self.changes = changes
        self.counts = [0] * (len(PeerState) + 1)
        """State -> number of peers."""
        self.informed_until = NEVER
        """Punctual observers have reported everything they heard up to this time."""
        self.speaking = 0
        """Peers that speak to the service themselves."""
        self.overdue: list[tuple[float, int]] = []
        """Heap of (the instant up to which an observer must be informed to prove the silence, row): rows past their
        timeout whose silence no observer has proved yet."""
        self.tail = PRIOR_TAIL
        """A high quantile of how far peaks of silence exceed their means (seconds); learned by the detector."""
        self.oldest_at = math.inf
        """A lower bound of every peer's last sign of life."""
        self.evictable: list[tuple[float, int]] = []
        """Heap of (last sign of life, row), some of it stale: every row not seen since ``evictable_until``."""
        self.evictable_until = NEVER
        self._ordered: list[str] = []
        self._joined: list[str] | None = None
        """Peers added since ``ordered`` was last read; None: it never was, or too many were."""

    def hear(self, identity: str, now: float) -> None:
        """An identity speaks of this store."""
        if self._newest[0] != identity:
            self._second = self._newest
        self._newest = (identity, now)

    def has_room_for(self, identity: str, now: float) -> bool:
        """Whether an identity may name a peer that nobody else names; one that speaks alone harms only itself."""
        other = self._second if self._newest[0] == identity else self._newest
        return self.claims.get(identity, 0) < UNCONFIRMED or other[1] + SPEAKING <= now

    def claim(self, identity: str, change: int) -> None:
        """So many more peers are named by this identity only, or fewer."""
        claims = self.claims
        claims[identity] = max(0, claims.get(identity, 0) + change)
        if not claims[identity]:
            del claims[identity]

    def add(self, peer_id: str, row: int) -> None:
        """Add a peer."""
        self.index[peer_id] = row
        joined = self._joined
        if joined is not None:
            joined.append(peer_id)
            if len(joined) > len(self.index):
                self._joined, self._ordered = None, []

    def ordered(self) -> Sequence[str]:
        """The peers by id. Only what changed since the last time is put in its place."""
        if self._joined is None:
            self._ordered = sorted(self.index)
        elif self._joined or len(self._ordered) != len(self.index):
            kept = filter(self.index.__contains__, chain(self._ordered, self._joined))
            self._ordered = sorted(dict.fromkeys(kept))
        self._joined = []
        return self._ordered

    def observer_bit(self, node_id: str) -> int:
        """The bit of an observer; 0 beyond the limit."""
        bit = self.bits.get(node_id)
        if bit is None:
            bit = 1 << len(self.bits) if len(self.bits) < MAX_OBSERVERS else 0
            if bit:
                self.bits[node_id] = bit
        return bit


class Table:
    """The columns. A row is an integer; it is reused once it is free."""

    def __init__(self) -> None:
        self.peer_ids: list[str] = []
        self.stores: list[Store | None] = []
        self.heard_at = array("d")
        """Newest sign of life that another node saw."""
        self.reported_at = array("d")
        """Newest sign of life that the peer gave the service itself."""
        self.states = bytearray()
        self.observers: list[int] = []
        """The nodes that have heard the peer, as a bit set."""
        self.namers: list[str] = []
        """The only identity that names the peer, which never spoke itself: it is *unconfirmed*. Else empty."""
        self.places = array("i")
        """The place of each row that is ONLINE among those of its store from which peers are drawn."""
        self._free: list[int] = []
        self._interned_masks: dict[int, int] = {0: 0}
        self._interned_ids: dict[str, str] = {}
        """Peer ids, interned across stores while they fit."""

    def __len__(self) -> int:
        return len(self.peer_ids) - len(self._free)

    def add(self, store: Store, peer_id: str) -> tuple[int, bool]:
        """Allocate a row for a peer; also return whether the columns grew."""
        if len(self._interned_ids) >= INTERNED_IDS:
            self._interned_ids.clear()
        peer_id = self._interned_ids.setdefault(peer_id, peer_id)
        if self._free:
            row, grown = self._free.pop(), False
            self.peer_ids[row], self.stores[row] = peer_id, store
            self.heard_at[row] = self.reported_at[row] = NEVER
            self.observers[row], self.namers[row] = 0, ""
        else:
            row, grown = len(self.peer_ids), True
            self.peer_ids.append(peer_id)
            self.stores.append(store)
            self.heard_at.append(NEVER)
            self.reported_at.append(NEVER)
            self.states.append(FREE)
            self.observers.append(0)
            self.namers.append("")
            self.places.append(0)
        store.add(peer_id, row)
        return row, grown

    def remove(self, row: int) -> None:
        """Free a row."""
        store = self.stores[row]
        assert store is not None
        self.confirm(row)
        if self.states[row] == ONLINE:
            self._pool(store, row).remove(row)
        store.speaking -= self.reported_at[row] > NEVER
        del store.index[self.peer_ids[row]]
        store.counts[self.states[row]] -= 1
        self.peer_ids[row], self.stores[row], self.states[row], self.observers[row] = "", None, FREE, 0
        self._free.append(row)

    def set_state(self, row: int, state: PeerState) -> None:
        """Set the presence of a peer."""
        store, before = self.store_of(row), self.states[row]
        self.states[row] = state
        store.counts[before] -= 1
        store.counts[state] += 1
        if before == ONLINE:
            self._pool(store, row).remove(row)
        if state == ONLINE:
            self._pool(store, row).add(row)

    def speak(self, row: int, now: float) -> None:
        """Record that a peer spoke to the service itself."""
        if self.reported_at[row] == NEVER:
            store = self.store_of(row)
            store.speaking += 1
            if self.states[row] == ONLINE:
                store.online_others.remove(row)
                store.online_speakers.add(row)
        self.reported_at[row] = now
        self.confirm(row)

    def _pool(self, store: Store, row: int) -> RowPool:
        return store.online_speakers if self.reported_at[row] > NEVER else store.online_others

    def set_namer(self, row: int, identity: str) -> None:
        """Record that only this identity names a peer."""
        self.namers[row] = identity
        self.store_of(row).claim(identity, 1)

    def confirm(self, row: int) -> None:
        """Record that the peer spoke, or that another identity heard it."""
        if self.namers[row]:
            self.store_of(row).claim(self.namers[row], -1)
            self.namers[row] = ""

    def move_to_end(self, row: int) -> None:
        """Mark a peer as the one heard last in its store, if it is one of those of which the order is kept."""
        store = self.store_of(row)
        if store.speaking > FEW_SPEAK and self.reported_at[row] == NEVER:
            return
        peer_id, index = self.peer_ids[row], store.index
        del index[peer_id]
        index[peer_id] = row

    def store_of(self, row: int) -> Store:
        """The store of a row in use."""
        store = self.stores[row]
        assert store is not None
        return store

    def add_observer(self, row: int, bit: int) -> None:
        """Record that an observer has heard the peer."""
        mask = self.observers[row] | bit
        if len(self._interned_masks) > INTERNED_MASKS:
            self._interned_masks.clear()
        self.observers[row] = self._interned_masks.setdefault(mask, mask)

    def seen_at(self, row: int) -> float:
        """The newest sign of life, whoever saw it; NEVER when there was none."""
        return max(self.heard_at[row], self.reported_at[row])

    def record(self, row: int) -> PeerRecord:
        """The row as a value."""
        at = self.seen_at(row)
        return PeerRecord(
            self.peer_ids[row],
            STATES[self.states[row] - 1],
            None if at == NEVER else at,
            self.observers[row].bit_count(),
        )
