"""Schedules direct syncs, so that every online pair of a store syncs regularly, within the budget of each node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.finding import Finding, SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pairs import Due, Pairs, pair_of

PAIR_LIMIT = 500_000
"""Most pairs over all stores: about 50 MB."""
MIN_CHECK_GAP = 1.0
"""Least seconds between two checks of a store's pairs."""
CHECKED_PER_SECOND = 400
"""Due pairs of one store checked per second; pairs that cannot sync yet are checked again each time."""
PAIRS_PER_PART = 32
"""Due pairs checked in one part of the work: about 0.1 ms."""
ANSWER_TIMEOUT = 30.0
"""Seconds after which an unanswered sync request counts as failed."""
SIZE_SLACK = 1.1
"""A store may grow this far beyond ``pair_peers`` before its pairs are dropped; until then newcomers have none."""
FIRST_BACKOFF = 10.0
"""Seconds until a pair is retried after its first failure; doubles up to the pair interval."""


@dataclass(slots=True)
class Attempt:
    """A sync request that has not succeeded yet."""

    retry_at: float
    tries: int = 0


class PairSyncScheduler:
    """The pairs of one store."""

    __slots__ = ("_attempts", "_budget", "_parameters", "_store_id", "check_at", "pairs", "unsynced")

    def __init__(self, store_id: str, parameters: LivenessParameters, budget: Budget) -> None:
        self.unsynced = 0
        """Pairs that can sync and have never met since both came online, or are overdue; as of the last check."""
        self.check_at: float | None = None
        self.pairs = Pairs()
        self._store_id = store_id
        self._parameters = parameters
        self._budget = budget
        self._attempts: dict[tuple[str, str], Attempt] = {}

    def set_members(self, members: Collection[str], room: int, now: float) -> Generator[None]:
        """Set the members, as far as there is room for their pairs; a store that is too large gets none.

        Pauses after each newcomer.
        """
        most = self._parameters.pair_peers
        if len(members) > most * (SIZE_SLACK if self.pairs.members else 1):
            members, self.pairs, self._attempts = (), Pairs(), {}
        kept = self.pairs
        chosen = set(members)
        self._remove([one for one in kept.members if one not in chosen])
        for node_id in members:
            if node_id not in kept and len(kept.members) < most and room >= len(kept.members):
                room -= len(kept.members)
                first_at = now + 2 * self._parameters.report_interval
                kept.add(node_id, first_at, first_at + self._spread(len(members)))
                yield
        if kept.next_at() is None:
            self.unsynced, self.check_at = 0, None
        self._check_soon(now)

    def remove(self, node_id: str) -> None:
        """Remove a node from the members."""
        if node_id in self.pairs:
            self._remove([node_id])

    def resume(self, node_id: str, now: float) -> None:
        """Record that a node became able to sync: its pairs are due again."""
        if node_id in self.pairs:
            self.pairs.unshelve(node_id)
            self._check_soon(now)

    def record_meetings(self, node_id: str, peer_ids: Iterable[str], now: float) -> None:
        """Record that a node is a neighbour of these peers, or heard them directly."""
        due_at = now + self._parameters.pair_interval
        for peer_id in peer_ids:
            self.pairs.record_meeting(node_id, peer_id, due_at)

    def record_result(self, node_id: str, peer_id: str, ok: bool, now: float) -> None:
        """Record the result of a direct sync."""
        if node_id not in self.pairs or peer_id not in self.pairs:
            return
        key = pair_of(node_id, peer_id)
        if ok:
            self._attempts.pop(key, None)
            self.record_meetings(node_id, (peer_id,), now)
        else:
            attempt = self._attempts.setdefault(key, Attempt(now, 1))
            attempt.retry_at = now + self._backoff(attempt)

    def request_due(
        self, capable: Collection[str], are_apart: Callable[[str, str], bool], now: float
    ) -> Generator[list[Finding]]:
        """Request the syncs that are due, the most overdue first; pairs on different sides of a partition wait.

        Pairs in which neither node can sync are shelved until one can. Pauses after each part of the work, with what
        it requested.
        """
        wanted: list[Finding] = []
        still_due: list[Due] = []
        overdue = 0
        for count, due in enumerate(self.pairs.pop_due(now), 1):
            if count % PAIRS_PER_PART == 0:
                yield wanted
                wanted = []
            if due.one not in capable and due.other not in capable:
                self.pairs.shelve(due)
                continue
            overdue += self.pairs.has_met(due.one, due.other)
            attempt = self._attempts.get(pair_of(due.one, due.other))
            if attempt is not None and attempt.retry_at > now:
                still_due.append(due)
                continue
            node_id = None if are_apart(due.one, due.other) else self._dialer(due, capable, now)
            if node_id is not None:
                self._record_attempt(due, attempt, now)
                peer_id = due.other if node_id == due.one else due.one
                wanted.append(SyncWanted(node_id, self._store_id, peer_id))
            still_due.append(due)
        self.pairs.put_back(still_due)
        self.unsynced = self.pairs.never_met + overdue
        next_at = self.pairs.next_at()
        self.check_at = (
            None if next_at is None else max(next_at, now + MIN_CHECK_GAP, now + len(still_due) / CHECKED_PER_SECOND)
        )
        yield wanted

    def _check_soon(self, now: float) -> None:
        """Schedule a check for when the next pair is due."""
        next_at = self.pairs.next_at()
        if next_at is not None and (self.check_at is None or next_at < self.check_at):
            self.check_at = max(next_at, now)

    def _remove(self, node_ids: Sequence[str]) -> None:
        if node_ids:
            gone = set(node_ids)
            self.pairs.remove(node_ids)
            self._attempts = {key: one for key, one in self._attempts.items() if gone.isdisjoint(key)}

    def _dialer(self, due: Due, capable: Collection[str], now: float) -> str | None:
        """Of a pair's capable nodes the one with more budget left, if it has any; spends it."""
        candidates = [one for one in (due.one, due.other) if one in capable]
        node_id = min(candidates, key=self._budget.free_at, default=None)
        return node_id if node_id is not None and self._budget.try_spend(node_id, now) else None

    def _record_attempt(self, due: Due, attempt: Attempt | None, now: float) -> None:
        if attempt is None:
            attempt = self._attempts[pair_of(due.one, due.other)] = Attempt(now)
        attempt.tries = min(attempt.tries + 1, 60)
        attempt.retry_at = now + max(ANSWER_TIMEOUT, self._backoff(attempt))

    def _backoff(self, attempt: Attempt) -> float:
        return min(FIRST_BACKOFF * 2.0 ** max(0, attempt.tries - 1), self._parameters.pair_interval)

    def _spread(self, count: int) -> float:
        """Seconds over which a newcomer's first syncs are spread: they use at most half of each node's budget."""
        return min(self._parameters.pair_interval / 2, 2 * count / self._parameters.sync_rate)
