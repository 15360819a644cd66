"""Presence of every (store, peer), fused over all observers. ALGORITHM states the rules and proves the bounds.

The state of a peer is what ``judge`` makes of a few instants, each the newest of its kind: so it does not matter in
which order reports come, or how often.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Mapping

from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.change import ChangeLog
from gossipcontrol.server.core.presence.detector import Detector, Peak
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.core.presence.table import FREE, STATES, Store, Table
from gossipcontrol.server.core.presence.wheel import Wheel

NEWS = 0.2
"""Seconds by which a sign of life must be newer to teach anything: ages of one message differ by the way they took."""
GRACE = 2.0
"""Seconds after a peer's last word within which messages of it may still be under way."""
EVICTED = 64
"""A full store drops this part of its peers at once, so that making room costs little per peer."""

ONLINE, SUSPECT, OFFLINE = PeerState.ONLINE, PeerState.SUSPECT, PeerState.OFFLINE


class Presence:
    """Who is online. ``changed`` collects the stores whose presence changed, until somebody takes them."""

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
        self._parted: dict[int, tuple[PeerState, float]] = {}
        """Row -> how it took its leave, ASLEEP or LEFT, and when."""
        self._hushed: dict[int, float] = {}
        """Row -> since when its own reports prove nothing, for its messages reach nobody."""
        self.version = 0
        """No version of a store that was forgotten is above it."""
        self.started_at: float | None = None

    # What the diagnosis asks.

    def state(self, store_id: str, peer_id: str) -> PeerState | None:
        """The presence of a peer; None when it is not known."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        return None if row is None else STATES[self.table.states[row] - 1]

    def online(self, store_id: str) -> Collection[str]:
        """The peers of a store that are ONLINE; a live view whose length costs nothing."""
        return OnlinePeers(self.stores.get(store_id), self.table)

    def hush(self, store_id: str, peer_id: str, standing: bool, now: float) -> None:
        """The peer's broadcasts reach nobody (or do again): then its own reports are no signs of life."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if row is None or standing == (row in self._hushed):
            return
        if standing:
            self._hushed[row] = now
        else:
            del self._hushed[row]
        self._look(row, now)

    def is_hushed(self, store: Store, peer_id: str) -> bool:
        """Whether only broadcasts of the peer count as signs of life."""
        return store.index.get(peer_id, -1) in self._hushed

    # What is seen.

    def store(self, store_id: str) -> Store:
        """A store, made known."""
        store = self.stores.get(store_id)
        if store is None:
            changes = ChangeLog(self._parameters.change_limit, self.version)
            store = self.stores[store_id] = Store(store_id, changes)
        return store

    def row(self, store: Store, peer_id: str, at: float, now: float) -> int | None:
        """The row of a peer with a sign of life at ``at``, made known; None when there is no room for it."""
        row = store.index.get(peer_id)
        if row is not None or not self._make_room(store, at, now):
            return row
        row, grown = self.table.add(store, peer_id)
        if grown:
            self._detector.grow()
            self._wheel.grow()
        else:
            self._detector.reset(row)
        store.counts[FREE] += 1
        store.oldest = min(store.oldest, at)
        if at == NEVER:
            self._look(row, now)
        return row

    def hear(self, store: Store, observer_id: str, heard: Mapping[str, float], now: float) -> None:
        """What an observer has heard of others: when each was last heard, or NEVER."""
        table, index = self.table, store.index
        heard_at, reported, states, observers = table.heard, table.reported, table.states, table.observers
        bit, online, peaks = store.bit(observer_id), int(ONLINE), list[Peak]()
        if observer_id in heard:
            heard = {peer_id: at for peer_id, at in heard.items() if peer_id != observer_id}
        for peer_id, at in heard.items():
            if at > now:
                at = now
            row = index.get(peer_id)
            if row is None:
                if at > NEVER and at + self._parameters.peer_age <= now:
                    continue  # forgotten as soon as it were made known
                row = self.row(store, peer_id, at, now)
                if row is None:
                    continue
            last = heard_at[row]
            if not observers[row] & bit and at > NEVER:
                table.observe(row, bit)
            if at <= last:
                continue
            heard_at[row] = at
            if states[row] != online:
                self._revive(row, max(last, reported[row]), now)
            elif at - last > NEWS:
                last = max(last, reported[row])
                if at - last > NEWS:
                    peaks.append((row, store.informed_at - last))
                    table.move_to_end(row)
        if peaks:
            self._detector.learn(store, peaks)

    def meet(self, store: Store, observer_id: str, neighbors: Mapping[str, float], now: float) -> None:
        """Neighbours of an observer: that one came up is a sign of life, that it is still listed is none."""
        index, heard, observers, bit = store.index, self.table.heard, self.table.observers, store.bit(observer_id)
        for peer_id, up_at in neighbors.items():
            row = index.get(peer_id)
            if row is None or up_at > heard[row] or not observers[row] & bit:
                self.hear(store, observer_id, {peer_id: up_at}, now)

    def greet(self, store: Store, node_id: str, now: float, *, anew: bool = False) -> None:
        """A node spoke to the service itself. ``anew``: whatever it said last."""
        row = self.row(store, node_id, now, now)
        if row is None:
            return
        last = self._alive_at(row)
        self.table.reported[row] = now
        if anew:
            self._parted.pop(row, None)
        if row in self._hushed:
            return
        if self.table.states[row] != ONLINE:
            self._revive(row, last, now)
        elif now - last > NEWS:
            self._detector.learn(store, ((row, store.informed_at - last),))
            self.table.move_to_end(row)

    def inform(self, store: Store, until: float, now: float) -> None:
        """A healthy observer has told of everything that it heard in this store until then."""
        store.informed_at = max(store.informed_at, until)
        if store.due:
            due, store.due = store.due, []
            for row in due:
                # Who was forgotten meanwhile has left a row that is free, or another's, who may be looked at as well.
                if self.table.states[row] != FREE:
                    self._look(row, now)

    def part(self, store_id: str, peer_id: str, state: PeerState, now: float) -> None:
        """A peer took its leave: it is ASLEEP, or has LEFT."""
        row = self.row(self.store(store_id), peer_id, now, now)
        if row is not None:
            self._parted[row] = (state, now)
            self._look(row, now)

    def wake(self, store_id: str, peer_id: str, now: float) -> None:
        """The host of a peer that sleeps has resumed."""
        store = self.stores.get(store_id)
        row = store.index.get(peer_id) if store else None
        if store is not None and row is not None and self._parted.get(row, (None,))[0] is PeerState.ASLEEP:
            self.greet(store, peer_id, now, anew=True)

    # Time.

    def next_at(self) -> float | None:
        """When something may change by itself."""
        return self._wheel.next_at()

    def advance(self, now: float) -> None:
        """Look at what is due."""
        table, hushed, patience, put = self.table, self._hushed, self._detector.patience, self._wheel.put
        for row in self._wheel.pop(now):
            state = table.states[row]
            if state == ONLINE and row not in hushed:
                # Nearly always it was heard meanwhile, and that is all there is to it.
                due_at = max(table.heard[row], table.reported[row]) + patience(row, table.store(row))
                if due_at > now:
                    put(row, due_at, now)
                    continue
            if state == PeerState.UNKNOWN:
                # Nothing else ever falls due for a peer that was only named.
                self._expire(row)
            elif state != FREE:
                self._look(row, now)

    # Rules.

    def judge(self, row: int, now: float) -> PeerState:
        """The presence of a peer now; nothing else decides it."""
        alive_at, parted, store = self._alive_at(row), self._parted.get(row), self.table.store(row)
        if parted is not None and alive_at <= parted[1] + GRACE:
            return parted[0]
        if alive_at == NEVER:
            return PeerState.UNKNOWN
        patience = self._detector.patience(row, store)
        # Always this sum, never a difference: a deadline that has come must be over for the judge as well.
        is_proved = alive_at + patience <= store.informed_at
        if alive_at + (patience if is_proved else self._parameters.suspect_ceiling) > now:
            return ONLINE
        return SUSPECT if now < self._offline_at(row, now) else OFFLINE

    def _offline_at(self, row: int, now: float) -> float:
        """When a suspected peer that stays silent is offline; never in the service's first report interval."""
        since = max(
            self._alive_at(row) + self._detector.patience(row, self.table.store(row)), self._hushed.get(row, NEVER)
        )
        settled_at = (self.started_at or now) + self._next_report(now)
        return max(since + self._parameters.offline_after, settled_at)

    def _alive_at(self, row: int) -> float:
        """The last sign of life that counts."""
        heard_at, reported_at = self.table.heard[row], self.table.reported[row]
        return heard_at if heard_at >= reported_at or row in self._hushed else reported_at

    def _revive(self, row: int, last: float, now: float) -> None:
        """A sign of life of a peer that was not online; its last one before was at ``last``."""
        table, store, was_suspect = self.table, self.table.store(row), self.table.states[row] == SUSPECT
        table.move_to_end(row)
        self._look(row, now)
        if was_suspect and table.states[row] == ONLINE:
            # Suspected in error: so long it may be silent.
            self._detector.learn(store, ((row, store.informed_at - last),))

    def _look(self, row: int, now: float) -> None:
        """Judge a peer, and see to it that it is looked at again before it can change by itself."""
        state, alive_at = self.judge(row, now), self._alive_at(row)
        parted = self._parted.get(row)
        if parted is not None and state is not parted[0]:
            del self._parted[row]
        self._show(row, state)
        parameters, put = self._parameters, self._wheel.put
        if state is ONLINE:
            store = self.table.store(row)
            patience = self._detector.patience(row, store)
            if alive_at + patience > now:
                put(row, alive_at + patience, now)
            else:
                store.due.append(row)
                put(row, alive_at + parameters.suspect_ceiling, now)
        elif state is SUSPECT:
            put(row, self._offline_at(row, now), now)
        else:
            seen_at = max(self.table.reported[row], alive_at, parted[1] if parted else NEVER)
            expires_at = seen_at + parameters.peer_age if seen_at > NEVER else now + parameters.peer_age
            if expires_at <= now:
                self._expire(row)
            else:
                put(row, expires_at, now)

    def _expire(self, row: int) -> None:
        store = self.table.store(row)
        self.remove(row)
        self.drop_empty(store)

    def _show(self, row: int, state: PeerState) -> None:
        before = self.table.states[row]
        if state == before:
            return
        store = self.table.store(row)
        self.table.states[row] = state
        store.counts[before] -= 1
        store.counts[state] += 1
        self.counts[before] -= before != FREE
        self.counts[state] += 1
        store.changes.add(self.table.names[row], state)
        self.changed[store.store_id] = None

    # Bounds.

    def remove(self, row: int) -> None:
        """Forget a peer."""
        store, state = self.table.store(row), self.table.states[row]
        self.counts[state] -= state != FREE
        store.changes.add(self.table.names[row], None)
        self.changed[store.store_id] = None
        self.table.remove(row)
        self._wheel.cancel(row)
        self._parted.pop(row, None)
        self._hushed.pop(row, None)

    def forget(self, store_id: str) -> None:
        """Forget a store with all its peers."""
        store = self.stores.get(store_id)
        if store is not None:
            for row in list(store.index.values()):
                self.remove(row)
            self.drop_empty(store)

    def drop_empty(self, store: Store) -> None:
        """Forget a store without peers."""
        if not store.index and self.stores.get(store.store_id) is store:
            del self.stores[store.store_id]
            self.version = max(self.version, store.changes.version + 1)

    def _make_room(self, store: Store, at: float, now: float) -> bool:
        """Whether a peer with a sign of life at ``at`` may be added: those longest unheard go, and it may be one."""
        is_crowded = len(store.index) >= self._parameters.peers_per_store
        if not is_crowded and len(self.table) < self._parameters.peer_limit:
            return True
        if not store.index or at <= store.oldest:
            return False
        count = max(1, len(store.index) // EVICTED)
        oldest = heapq.nsmallest(count + 1, store.index.values(), key=self.table.seen_at)
        store.oldest = self.table.seen_at(oldest[0])
        if at <= store.oldest:
            return False
        store.oldest = self.table.seen_at(oldest[-1])
        for row in oldest[:count]:
            self.remove(row)
        return True


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
