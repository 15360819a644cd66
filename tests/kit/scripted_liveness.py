"""Liveness by script: a test sets the presence of peers, and the findings of the next event."""

from __future__ import annotations

from collections.abc import Iterator

from gossipcontrol.server.core.event import LivenessEvent
from gossipcontrol.server.core.finding import Finding, PresenceChanged
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.change import ChangeLog
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import LivenessCounts, PeerRecord, PeerState, View


class ScriptedLiveness(Liveness):
    """Records every event, shows the peers that the test ``put``, and returns ``script`` at the next event."""

    def __init__(self, parameters: LivenessParameters | None = None) -> None:
        super().__init__(parameters)
        self.heard: list[LivenessEvent] = []
        self.script: list[Finding] = []
        self.deadline_after: float | None = None
        """Seconds from the next event to the deadline, once."""
        self._deadline: float | None = None
        self._stores: dict[str, dict[str, PeerRecord]] = {}
        self._logs: dict[str, ChangeLog] = {}
        self.total = 0
        """Changes in all stores, which is the version of an unknown store."""
        self._records: dict[tuple[str, int], PeerRecord | None] = {}

    def put(self, store_id: str, peer_id: str, state: PeerState | None, heard_at: float | None = None) -> None:
        """Set the state of a peer; None removes it."""
        peers = self._stores.setdefault(store_id, {})
        log = self._logs.get(store_id)
        if log is None:
            log = self._logs[store_id] = ChangeLog(self.parameters.change_limit)
            log.version = self.total
        self.total += 1
        if state is None:
            del peers[peer_id]
        else:
            peers[peer_id] = PeerRecord(peer_id, state, heard_at, 1)
        log.add(peer_id, state)
        self._records[store_id, log.version] = peers.get(peer_id)

    def present(self, store_id: str) -> dict[str, PeerRecord]:
        """The peers of a store."""
        return self._stores.get(store_id, {})

    def version(self, store_id: str) -> int:
        """The version of a store."""
        return self._logs[store_id].version if store_id in self._logs else self.total

    def handle(self, event: LivenessEvent, now: float) -> list[Finding]:
        self.heard.append(event)
        self._deadline = None if self.deadline_after is None else now + self.deadline_after
        self.deadline_after = None
        found, self.script = self.script, []
        return found

    def changed(self, store_id: str) -> None:
        """Report at the next event that the presence of a store changed."""
        self.script.append(PresenceChanged(store_id))

    def next_deadline(self) -> float | None:
        return self._deadline

    def view(self, store_id: str, since: int | None = None, most: int | None = None) -> View:
        changes = None if since is None else self.changes(store_id, since)
        if changes is None:
            return View(store_id, self.version(store_id), tuple(self.peers(store_id))[:most])
        last = {peer_id: peer for _, peer, peer_id in changes}
        there = tuple(peer for _, peer in sorted(last.items()) if peer is not None)
        gone = tuple(sorted(peer_id for peer_id, peer in last.items() if peer is None))
        return View(store_id, self.version(store_id), there, True, gone)

    def changes(
        self, store_id: str, since: int, most: int | None = None
    ) -> list[tuple[int, PeerRecord | None, str]] | None:
        log = self._logs.get(store_id)
        if log is None:
            return [] if since == self.total else None
        if not log.covers(since):
            return None
        return [(version, self._records[store_id, version], peer_id) for version, peer_id, _ in log.since(since)][:most]

    def peers(self, store_id: str, after: str = "") -> Iterator[PeerRecord]:
        return (peer for peer_id, peer in sorted(self.present(store_id).items()) if peer_id > after)

    def next_report(self, now: float) -> float:
        del now
        return self.parameters.report_interval

    def counts(self) -> LivenessCounts:
        return self._count([peer for peers in self._stores.values() for peer in peers.values()])

    def store_counts(self, store_id: str) -> LivenessCounts:
        return self._count(list(self.present(store_id).values()))

    def _count(self, peers: list[PeerRecord]) -> LivenessCounts:
        states = {state: sum(peer.state is state for peer in peers) for state in PeerState}
        return LivenessCounts(states, pairs_unsynced=7, partitioned=0)
