"""Presence of every (store, peer), fused over all observers.

``evaluate`` derives the state of a peer from a few instants, each the newest of its kind. So reports may arrive in any
order, and any number of times.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice

from gossipcontrol.server.core.deadline import earliest
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.change import ChangeLog
from gossipcontrol.server.core.presence.detector import Detector, Peak
from gossipcontrol.server.core.presence.hearing import Hearing
from gossipcontrol.server.core.presence.overload import Overload
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.presence.second_word import SecondWord
from gossipcontrol.server.core.presence.table import FREE, STATES, Store, Table
from gossipcontrol.server.core.presence.wheel import Wheel

MIN_ADVANCE = 0.2
"""Seconds by which a sign of life must be newer to be learned from: ages of one message differ by its transit."""
DEPARTURE_GRACE = 2.0
"""Seconds after a peer's announced departure in which its earlier messages may still arrive."""
EVICTION_DIVISOR = 16
"""A full store finds one peer in this many at once that it may evict, so that evictions cost little per peer."""
ADVANCED_ROWS = 256
"""Most rows refreshed by one event, stale ones included: about a millisecond. What else is due stays due."""

ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE


class Presence:
    """Who is online. ``changed`` collects the stores whose presence changed, until the caller takes it."""

    def __init__(self, parameters: LivenessParameters, next_report: Callable[[float], float]) -> None:
        self._parameters = parameters
        self._next_report = next_report
        self._detector = Detector(parameters)
        self._wheel = Wheel()
        self.table = Table()
        self.stores: dict[str, Store] = {}
        self.changed: dict[str, None] = {}
        self.counts = [0] * (len(PeerState) + 1)
        """State -> number of (store, peer)."""
        self._departed: dict[int, tuple[PeerState, float]] = {}
        """Row -> ASLEEP or LEFT as announced by the peer, and when."""
        self._mute_since: dict[int, float] = {}
        """Row -> since when its broadcasts reach nobody, so that its own reports are no sign of life."""
        self._outvoted: dict[int, SecondWord] = {}
        """Those of them that one identity may still claim to hear, though several miss them: two must hear them."""
        self._proved: dict[str, float] = {}
        """Store -> since when it has rows whose silence is proved, but which are yet to be refreshed."""
        self.version = 0
        """At least the version of every store that was forgotten."""
        self.started_at: float | None = None
        """When the service began to listen, or went on after a pause of its own."""
        self.settles_at = NEVER
        """Until when nobody becomes OFFLINE, for another owner of the state heard them until now."""
        self._resumed_at = NEVER
        settle = parameters.suspect_ceiling + parameters.offline_after
        self.hearing = Hearing(parameters.suspect_ceiling, settle)
        """Whether the service hears anybody: while it is deaf, nobody becomes OFFLINE."""
        self.overload = Overload(parameters.suspect_floor + parameters.offline_after, settle)
        """Whether it has room to hear most of those that report: while it has none, nobody becomes OFFLINE."""
        self.is_short = False
        """Whether a further peer takes the place of another, for want of memory."""
        self.dropped_names = 0
        """Peers that were not taken over, because the identity that names them names too many that nobody else does."""
        self.change_total = 0
        """Changes that are kept over all stores."""

    # Used by diagnosis.

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        """The presence of a peer; None when it is unknown."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        return None if row is None else STATES[self.table.states[row] - 1]

    def online(self, store_id: str) -> Collection[str]:
        """The peers of a store that are ONLINE: a live view with a length in constant time."""
        return OnlinePeers(self.stores.get(store_id), self.table)

    def silent_peers(self, store_id: str, most: int) -> list[str]:
        """At most so many peers that were once heard and are suspected or offline; those heard last come first."""
        store, table = self.stores.get(store_id), self.table
        if store is None:
            return []
        silent = (
            peer_id
            for peer_id, row in reversed(store.index.items())
            if table.states[row] in (SUSPECT, OFFLINE) and table.heard_at[row] > NEVER
        )
        return list(islice(silent, most))

    def on_service_paused(self, now: float) -> None:
        """The service itself stood still until now: that it heard nobody meanwhile proves nothing."""
        self.started_at = self._resumed_at = now
        self.hearing.on_service_paused(now)

    def judge_hearing(self, now: float) -> bool:
        """Judge whether the service itself is deaf, once that is due; return whether it was found to be deaf now."""
        return self.hearing.judge(now)

    def set_mute(self, store_id: str, peer_id: str, mute: bool, now: float) -> None:
        """Set whether the peer is mute: its broadcasts reach nobody, so its own reports are no sign of life."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if row is None or mute == (row in self._mute_since):
            return
        if mute:
            self._mute_since[row] = now
        else:
            del self._mute_since[row]
            self._outvoted.pop(row, None)
        self._refresh(row, now)

    def set_outvoted(self, store_id: str, peer_id: str, identity: str, since: float | None, now: float) -> None:
        """Set since when two must hear a mute peer, besides its own identity: who alone claims to is outvoted.

        None: one suffices.
        """
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if row is None or row not in self._mute_since or (since is None) != (row in self._outvoted):
            return
        if since is not None:
            self._outvoted[row] = SecondWord(identity, since)
        else:
            del self._outvoted[row]
        self._refresh(row, now)

    def forget_reporter(self, node_id: str) -> None:
        """A node said that it goes: that it reports no longer says nothing about the service."""
        self.hearing.forget(node_id)
        self.overload.forget(node_id)

    def is_mute(self, store: Store, peer_id: str) -> bool:
        """Whether the peer is mute, so that only its broadcasts count as signs of life."""
        return store.index.get(peer_id, -1) in self._mute_since

    def mute_peers(self, store: Store) -> list[str]:
        """The mute peers of a store."""
        mute = self._mute_since
        return [peer_id for peer_id, row in store.index.items() if row in mute] if mute else []

    # Signs of life.

    def ensure_store(self, store_id: str) -> Store:
        """Get or create a store."""
        store = self.stores.get(store_id)
        if store is None:
            changes = ChangeLog(self._parameters.change_limit, self.version)
            store = self.stores[store_id] = Store(store_id, changes, self.table.places)
        return store

    def ensure_row(self, store: Store, peer_id: str, at: float, now: float) -> int | None:
        """Get or create the row of a peer with a sign of life at ``at``; None when there is no room for it."""
        row = store.index.get(peer_id)
        if row is not None or not self._make_room(store, at, now):
            return row
        row, grown = self.table.add(store, peer_id)
        if grown:
            self._detector.add_row()
            self._wheel.add_row()
        else:
            self._detector.reset(row)
        store.counts[FREE] += 1
        store.oldest_at = min(store.oldest_at, at)
        if at < store.evictable_until:
            self._note_evictable(store, at, row)
        if at == NEVER:
            self._refresh(row, now)
        return row

    def on_heard(
        self, store: Store, observer_id: str, heard: Mapping[str, float], now: float, identity: str = ""
    ) -> None:
        """Record when an observer last heard each of its peers, or NEVER; ``identity``: whose word that is."""
        table, index, identity = self.table, store.index, identity or observer_id
        heard_at, reported, states, observers = table.heard_at, table.reported_at, table.states, table.observers
        store.hear(identity, now)
        bit, online, peaks = store.observer_bit(observer_id), int(ONLINE), list[Peak]()
        outvoted = self._outvoted
        if observer_id in heard:
            heard = {peer_id: at for peer_id, at in heard.items() if peer_id != observer_id}
        for peer_id, at in heard.items():
            if at > now:
                at = now
            row = index.get(peer_id)
            if row is None:
                if at > NEVER and at + self._parameters.peer_age <= now:
                    continue  # would be forgotten at once
                if not store.has_room_for(identity, now):
                    self.dropped_names += 1
                    continue
                row = self.ensure_row(store, peer_id, at, now)
                if row is None:
                    continue
                table.set_namer(row, identity)
            last = heard_at[row]
            if not observers[row] & bit and at > NEVER:
                table.add_observer(row, bit)
                if table.namers[row] and table.namers[row] != identity:
                    table.confirm(row)
            if outvoted and row in outvoted:
                self._hear_outvoted(row, identity, at, now)
                continue
            if at <= last:
                continue
            heard_at[row] = at
            if states[row] != online:
                self._revive(row, max(last, reported[row]), now)
            elif at - last > MIN_ADVANCE:
                last = max(last, reported[row])
                if at - last > MIN_ADVANCE:
                    peaks.append((row, store.informed_until - last))
                    table.move_to_end(row)
        if peaks:
            self._detector.learn(store, peaks)

    def _hear_outvoted(self, row: int, identity: str, at: float, now: float) -> None:
        """Record that somebody claims to have heard a peer that several miss; it is alive once another one did."""
        table, before = self.table, self._alive_at(row)
        table.heard_at[row] = max(table.heard_at[row], at)
        self._outvoted[row].hear(identity, at)
        if table.states[row] != ONLINE and self._alive_at(row) > before:
            self._revive(row, before, now)

    def touch(self, store_id: str, peer_id: str) -> bool:
        """Log a peer as changed whose state is as it was; returns whether it is known."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if store is None or row is None or self.table.states[row] == FREE:
            return False
        self.change_total += store.changes.add(peer_id, STATES[self.table.states[row] - 1])
        return True

    def on_neighbors(
        self, store: Store, observer_id: str, neighbors: Mapping[str, float], now: float, identity: str = ""
    ) -> None:
        """Record an observer's neighbours: that a link came up is a sign of life, that it is still listed is not."""
        index, heard, observers, bit = (
            store.index,
            self.table.heard_at,
            self.table.observers,
            store.observer_bit(observer_id),
        )
        for peer_id, up_at in neighbors.items():
            row = index.get(peer_id)
            if row is None or up_at > heard[row] or not observers[row] & bit:
                self.on_heard(store, observer_id, {peer_id: up_at}, now, identity)

    def on_self_report(self, store: Store, node_id: str, now: float, *, clears_departure: bool = False) -> None:
        """Record that a node talked to the service; ``clears_departure`` also cancels an announced sleep or leave."""
        row = self.ensure_row(store, node_id, now, now)
        if row is None:
            return
        last = self._alive_at(row)
        self.table.speak(row, now)
        if clears_departure:
            self._departed.pop(row, None)
        if row in self._mute_since:
            return
        if self.table.states[row] != ONLINE:
            self._revive(row, last, now)
        elif now - last > MIN_ADVANCE:
            self._detector.learn(store, ((row, store.informed_until - last),))
            self.table.move_to_end(row)

    def advance_informed(self, store: Store, until: float, now: float) -> None:
        """Record that a punctual observer has reported everything it heard in this store up to ``until``."""
        if until <= store.informed_until:
            return
        store.informed_until = until
        self._refresh_proved(store, ADVANCED_ROWS, now)

    def _refresh_proved(self, store: Store, most: int, now: float) -> int:
        """Refresh rows whose silence is proved now, up to a bound; returns how many more might have been."""
        overdue = store.overdue
        while most and overdue and overdue[0][0] <= store.informed_until:
            row = heapq.heappop(overdue)[1]
            most -= 1
            # The row of a forgotten peer is free or reused by now; refreshing a reused one does no harm.
            if self.table.states[row] != FREE:
                self._refresh(row, now)
        if overdue and overdue[0][0] <= store.informed_until:
            self._proved.setdefault(store.store_id, now)
        else:
            self._proved.pop(store.store_id, None)
        return most

    def mark_departed(self, store_id: str, peer_id: str, state: PeerState, now: float) -> None:
        """Record an announced departure: ASLEEP or LEFT."""
        row = self.ensure_row(self.ensure_store(store_id), peer_id, now, now)
        if row is not None:
            self.table.confirm(row)
            self._departed[row] = (state, now)
            self._refresh(row, now)

    def mark_awake(self, store_id: str, peer_id: str, now: float) -> None:
        """Record that the host of a sleeping peer resumed."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if store is not None and row is not None and self._departed.get(row, (None,))[0] is PeerState.ASLEEP:
            self.on_self_report(store, peer_id, now, clears_departure=True)

    # Time.

    def next_at(self) -> float | None:
        """The earliest time at which a state may change by itself; None when none can."""
        proved_at = next(iter(self._proved.values())) if self._proved else None
        return earliest(self._wheel.next_at(), self.hearing.next_at(), proved_at)

    def advance(self, now: float) -> None:
        """Refresh rows that are due, up to a bound; while ``next_at`` has passed, more of them are."""
        table, mute_since, timeout, schedule = (
            self.table,
            self._mute_since,
            self._detector.timeout,
            self._wheel.schedule,
        )
        for row in self._wheel.pop(now, self._advance_proved(now)):
            state = table.states[row]
            if state == ONLINE and row not in mute_since:
                # The common case: the peer was heard meanwhile, so only its deadline moves.
                due_at = max(table.heard_at[row], table.reported_at[row]) + timeout(row, table.store_of(row))
                if due_at > now:
                    schedule(row, due_at, now)
                    continue
            if state == PeerState.UNKNOWN:
                # A peer that was only named has no other deadline than its expiry.
                self._expire(row)
            elif state != FREE:
                self._refresh(row, now)

    def _advance_proved(self, now: float) -> int:
        """Refresh what reports proved, but left for later; returns how many more rows may be refreshed."""
        left = ADVANCED_ROWS
        while left and self._proved:
            store = self.stores.get(next(iter(self._proved)))
            if store is None:
                del self._proved[next(iter(self._proved))]
            else:
                left = self._refresh_proved(store, left, now)
        return left

    # Rules.

    def evaluate(self, row: int, now: float) -> PeerState:
        """The presence of a peer now; the only place that decides it."""
        alive_at, departed, store = self._alive_at(row), self._departed.get(row), self.table.store_of(row)
        if departed is not None and alive_at <= departed[1] + DEPARTURE_GRACE:
            return departed[0]
        if alive_at == NEVER:
            return PeerState.UNKNOWN
        timeout = self._detector.timeout(row, store)
        # Always this sum, never a difference, so that rounding cannot put this test before the deadline of the wheel.
        is_proved = alive_at + timeout <= store.informed_until
        silent_until = alive_at + timeout if is_proved else self._ceiling_at(alive_at)
        if silent_until > now:
            return ONLINE
        return SUSPECT if now < self._offline_at(row, now) else OFFLINE

    def _offline_at(self, row: int, now: float) -> float:
        """When a suspected peer that stays silent becomes offline; never within the service's first report interval.

        What passes while the service is deaf or overloaded proves nothing: for who was not offline before, time starts
        again after.
        """
        since = max(
            max(self._alive_at(row), self._resumed_at) + self._detector.timeout(row, self.table.store_of(row)),
            self._mute_since.get(row, NEVER),
        )
        settled_at = max((self.started_at or now) + self._next_report(now), self.settles_at)
        offline_at, hearing = max(since + self._parameters.offline_after, settled_at), self.hearing
        if hearing.deaf_at is not None and offline_at > hearing.deaf_at:
            offline_at = max(offline_at, (now if hearing.ended_at is None else hearing.ended_at) + hearing.settle)
        return self.overload.offline_at(offline_at, now)

    def _ceiling_at(self, alive_at: float) -> float:
        """When silence since that instant is suspicious without any proof; the service's own pauses do not count."""
        return max(alive_at, self._resumed_at) + self._parameters.suspect_ceiling

    def _alive_at(self, row: int) -> float:
        """The newest sign of life that counts."""
        heard_at, reported_at = self.table.heard_at[row], self.table.reported_at[row]
        if row in self._outvoted:
            return min(heard_at, self._outvoted[row].at)
        return heard_at if heard_at >= reported_at or row in self._mute_since else reported_at

    def _revive(self, row: int, last: float, now: float) -> None:
        """Record a sign of life of a peer that was not online; the one before was at ``last``."""
        table, store, was_suspect = self.table, self.table.store_of(row), self.table.states[row] == SUSPECT
        table.move_to_end(row)
        self._refresh(row, now)
        if was_suspect and table.states[row] == ONLINE:
            # It was suspected in error: learn that it may be silent for so long.
            self._detector.learn(store, ((row, store.informed_until - last),))

    def _refresh(self, row: int, now: float) -> None:
        """Evaluate a peer, and schedule the next time at which its state may change by itself."""
        state, alive_at = self.evaluate(row, now), self._alive_at(row)
        departed = self._departed.get(row)
        if departed is not None and state is not departed[0]:
            del self._departed[row]
        self._set_state(row, state)
        parameters, schedule = self._parameters, self._wheel.schedule
        if state is ONLINE:
            store = self.table.store_of(row)
            timeout = self._detector.timeout(row, store)
            if alive_at + timeout > now:
                schedule(row, alive_at + timeout, now)
            else:
                heapq.heappush(store.overdue, (alive_at + timeout, row))
                schedule(row, self._ceiling_at(alive_at), now)
        elif state is SUSPECT and not self._is_too_old(row, now):
            schedule(row, self._offline_at(row, now), now)
        else:
            seen_at = max(self.table.reported_at[row], alive_at, departed[1] if departed else NEVER)
            expires_at = seen_at + parameters.peer_age if seen_at > NEVER else now + parameters.peer_age
            if expires_at <= now:
                self._expire(row)
            else:
                schedule(row, expires_at, now)

    def _is_too_old(self, row: int, now: float) -> bool:
        """Whether a peer is to be forgotten; a suspected one gets so old only without hearing."""
        hears = not self.hearing.is_deaf and self.overload.since() is None
        return not hears and self.table.seen_at(row) + self._parameters.peer_age <= now

    def _expire(self, row: int) -> None:
        store = self.table.store_of(row)
        self.forget_peer(row)
        self.drop_if_empty(store)

    def _set_state(self, row: int, state: PeerState) -> None:
        before = self.table.states[row]
        if state == before:
            return
        store = self.table.store_of(row)
        self.table.set_state(row, state)
        self.counts[before] -= before != FREE
        self.counts[state] += 1
        self.change_total += store.changes.add(self.table.peer_ids[row], state)
        self.changed[store.store_id] = None

    # Bounds.

    def forget_peer(self, row: int) -> None:
        """Forget a peer."""
        store, state = self.table.store_of(row), self.table.states[row]
        self.counts[state] -= state != FREE
        self.change_total += store.changes.add(self.table.peer_ids[row], None)
        self.changed[store.store_id] = None
        self.table.remove(row)
        self._wheel.cancel(row)
        self._departed.pop(row, None)
        self._mute_since.pop(row, None)
        self._outvoted.pop(row, None)

    def forget_store(self, store_id: str) -> None:
        """Forget a store and all its peers."""
        store = self.stores.get(store_id)
        if store is not None:
            for row in list(store.index.values()):
                self.forget_peer(row)
            self.drop_if_empty(store)

    def drop_if_empty(self, store: Store) -> None:
        """Forget a store without peers."""
        if not store.index and self.stores.get(store.store_id) is store:
            del self.stores[store.store_id]
            self.change_total -= len(store.changes)
            self.version = max(self.version, store.changes.version + 1)

    def _make_room(self, store: Store, at: float, now: float) -> bool:
        """Whether a peer with a sign of life at ``at`` may be added; evicts peers longer unheard than it if need be."""
        is_crowded = len(store.index) >= self._parameters.peers_per_store
        if not is_crowded and not self.is_short and len(self.table) < self._parameters.peer_limit:
            return True
        if not store.index or at <= store.oldest_at:
            return False
        row = self._oldest(store)
        store.oldest_at = self.table.seen_at(row)
        if at <= store.oldest_at:
            return False
        self.forget_peer(row)
        return True

    def _oldest(self, store: Store) -> int:
        """The row of the peer longest unheard."""
        table, heap = self.table, store.evictable
        while heap:
            at, row = heap[0]
            is_known, seen_at = table.stores[row] is store, table.seen_at(row)
            if is_known and seen_at == at:
                return row
            heapq.heappop(heap)
            if is_known and seen_at <= store.evictable_until:
                heapq.heappush(heap, (seen_at, row))
        rows, at_of = store.index.values(), (table.heard_at.__getitem__, table.reported_at.__getitem__)
        seen = zip(map(max, *(map(at, rows) for at in at_of)), rows, strict=True)
        store.evictable = heapq.nsmallest(max(1, len(rows) // EVICTION_DIVISOR), seen)
        store.evictable_until = store.evictable[-1][0]
        return store.evictable[0][1]

    def _note_evictable(self, store: Store, at: float, row: int) -> None:
        """Keep ``evictable`` complete; once most of it is stale, it is collected again when it is needed."""
        if len(store.evictable) > len(store.index):
            store.evictable, store.evictable_until = [], NEVER
        else:
            heapq.heappush(store.evictable, (at, row))


class OnlinePeers(Collection[str]):
    """The peers of a store that are ONLINE now."""

    def __init__(self, store: Store | None, table: Table) -> None:
        self._store = store
        self._table = table

    def __len__(self) -> int:
        return self._store.counts[ONLINE] if self._store else 0

    def __contains__(self, peer_id: object) -> bool:
        row = self._store.index.get(peer_id) if self._store and isinstance(peer_id, str) else None
        return row is not None and self._table.states[row] == ONLINE

    def __iter__(self) -> Iterator[str]:
        states = self._table.states
        for peer_id, row in self._store.index.items() if self._store else ():
            if states[row] == ONLINE:
                yield peer_id
