"""Sees to it that every online pair of a store syncs directly now and then, within the budget of each node."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.repair.budget import Budget
from gossipcontrol.server.core.repair.pairs import Due, Pairs, pair_of

PAIR_LIMIT = 500_000
"""Most pairs over all stores: about 50 MB."""
MIN_CHECK_GAP = 1.0
"""Least seconds between two looks at a store's debts."""
CHECKED_PER_SECOND = 400
"""Debts of one store looked at per second, for those that nobody can pay are looked at again and again."""
ANSWER_TIMEOUT = 30.0
"""Seconds after which a sync that was asked for and never answered counts as failed."""
SIZE_SLACK = 1.1
"""How far beyond ``pair_peers`` a store may grow before it forgets its pairs; till then newcomers have none."""
FIRST_BACKOFF = 10.0
"""Seconds until a pair is tried again after its first failure; doubles up to the pair interval."""


@dataclass(slots=True)
class Attempt:
    """A pair that was asked to sync and has not done so yet."""

    retry_at: float
    tries: int = 0


class PairSyncScheduler:
    """The pairs of one store."""

    __slots__ = ("_attempts", "_budget", "_parameters", "_store_id", "check_at", "pairs", "unsynced")

    def __init__(self, store_id: str, parameters: LivenessParameters, budget: Budget) -> None:
        self.unsynced = 0
        """Pairs that have never met since both are online, or are overdue, and can sync, as of the last look."""
        self.check_at: float | None = None
        self.pairs = Pairs()
        self._store_id = store_id
        self._parameters = parameters
        self._budget = budget
        self._attempts: dict[tuple[str, str], Attempt] = {}

    def set_members(self, members: Collection[str], room: int, now: float) -> None:
        """Take these as the members, as far as there is room for their pairs; none of a store that is too large."""
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
        if kept.next_at() is None:
            self.unsynced, self.check_at = 0, None
        self._check_soon(now)

    def remove(self, node_id: str) -> None:
        """A node is no longer one of the members."""
        if node_id in self.pairs:
            self._remove([node_id])

    def resume(self, node_id: str, now: float) -> None:
        """A node has become able to sync: what it owes is due again."""
        if node_id in self.pairs:
            self.pairs.unshelve(node_id)
            self._check_soon(now)

    def record_meetings(self, node_id: str, peer_ids: Iterable[str], now: float) -> None:
        """A node is a neighbour of these, or heard them directly."""
        due_at = now + self._parameters.pair_interval
        for peer_id in peer_ids:
            self.pairs.record_meeting(node_id, peer_id, due_at)

    def record_result(self, node_id: str, peer_id: str, ok: bool, now: float) -> None:
        """A direct sync came to its end."""
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
    ) -> list[SyncWanted]:
        """Ask for the syncs that are due, the oldest debt first; pairs that cannot reach each other wait.

        Pairs of which neither is able are due no more until one of them is.
        """
        wanted: list[SyncWanted] = []
        still_due: list[Due] = []
        overdue = 0
        for due in self.pairs.pop_due(now):
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
        return wanted

    def _check_soon(self, now: float) -> None:
        """Look as soon as a pair is due."""
        next_at = self.pairs.next_at()
        if next_at is not None and (self.check_at is None or next_at < self.check_at):
            self.check_at = max(next_at, now)

    def _remove(self, node_ids: Sequence[str]) -> None:
        if node_ids:
            gone = set(node_ids)
            self.pairs.remove(node_ids)
            self._attempts = {key: one for key, one in self._attempts.items() if gone.isdisjoint(key)}

    def _dialer(self, due: Due, capable: Collection[str], now: float) -> str | None:
        """The one of two that can, and has more of its budget left; its budget is used."""
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
        """Over how long a newcomer's first meetings are spread: at most half of the budget of each node."""
        return min(self._parameters.pair_interval / 2, 2 * count / self._parameters.sync_rate)
