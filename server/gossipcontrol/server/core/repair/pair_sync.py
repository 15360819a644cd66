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
STEP = 1.0
"""Least seconds between two looks at a store's debts."""
LOOKED_AT = 400
"""Debts of one store looked at per second, for those that nobody can pay are looked at again and again."""
PATIENCE = 30.0
"""Seconds after which a sync that was asked for and never answered counts as failed."""
SLACK = 1.1
"""How far beyond ``pair_peers`` a store may grow before it forgets its pairs; till then newcomers have none."""
BACKOFF = 10.0
"""Seconds until a pair is tried again after its first failure; doubles up to the pair interval."""


@dataclass(slots=True)
class Attempt:
    """A pair that was asked to sync and has not done so yet."""

    retry_at: float
    tries: int = 0


class PairSyncScheduler:
    """The pairs of one store."""

    __slots__ = ("_attempts", "_budget", "_parameters", "_store_id", "look_at", "owed", "pairs")

    def __init__(self, store_id: str, parameters: LivenessParameters, budget: Budget) -> None:
        self.owed = 0
        """Pairs that have never met since both are online, or are overdue, and can sync, as of the last look."""
        self.look_at: float | None = None
        self.pairs = Pairs()
        self._store_id = store_id
        self._parameters = parameters
        self._budget = budget
        self._attempts: dict[tuple[str, str], Attempt] = {}

    def choose(self, members: Collection[str], room: int, now: float) -> None:
        """Take these as the members, as far as there is room for their pairs; none of a store that is too large."""
        most = self._parameters.pair_peers
        if len(members) > most * (SLACK if self.pairs.members else 1):
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
            self.owed, self.look_at = 0, None
        self._look_soon(now)

    def remove(self, node_id: str) -> None:
        """A node is no longer one of the members."""
        if node_id in self.pairs:
            self._remove([node_id])

    def take_up(self, node_id: str, now: float) -> None:
        """A node has become able to sync: what it owes is due again."""
        if node_id in self.pairs:
            self.pairs.take_up(node_id)
            self._look_soon(now)

    def meet(self, node_id: str, peer_ids: Iterable[str], now: float) -> None:
        """A node is a neighbour of these, or heard them directly."""
        due_at = now + self._parameters.pair_interval
        for peer_id in peer_ids:
            self.pairs.meet(node_id, peer_id, due_at)

    def finish(self, node_id: str, peer_id: str, ok: bool, now: float) -> None:
        """A direct sync came to its end."""
        if node_id not in self.pairs or peer_id not in self.pairs:
            return
        key = pair_of(node_id, peer_id)
        if ok:
            self._attempts.pop(key, None)
            self.meet(node_id, (peer_id,), now)
        else:
            attempt = self._attempts.setdefault(key, Attempt(now, 1))
            attempt.retry_at = now + self._backoff(attempt)

    def look(self, able: Collection[str], apart: Callable[[str, str], bool], now: float) -> list[SyncWanted]:
        """Ask for the syncs that are due, the oldest debt first; pairs that cannot reach each other wait.

        Pairs of which neither is able are due no more until one of them is.
        """
        wanted: list[SyncWanted] = []
        left: list[Due] = []
        overdue = 0
        for due in self.pairs.take_due(now):
            if due.one not in able and due.other not in able:
                self.pairs.shelve(due)
                continue
            overdue += self.pairs.has_met(due.one, due.other)
            attempt = self._attempts.get(pair_of(due.one, due.other))
            if attempt is not None and attempt.retry_at > now:
                left.append(due)
                continue
            node_id = None if apart(due.one, due.other) else self._dialer(due, able, now)
            if node_id is not None:
                self._ask(due, attempt, now)
                peer_id = due.other if node_id == due.one else due.one
                wanted.append(SyncWanted(node_id, self._store_id, peer_id))
            left.append(due)
        self.pairs.put_back(left)
        self.owed = self.pairs.never_met + overdue
        next_at = self.pairs.next_at()
        self.look_at = None if next_at is None else max(next_at, now + STEP, now + len(left) / LOOKED_AT)
        return wanted

    def _look_soon(self, now: float) -> None:
        """Look as soon as a pair is due."""
        next_at = self.pairs.next_at()
        if next_at is not None and (self.look_at is None or next_at < self.look_at):
            self.look_at = max(next_at, now)

    def _remove(self, node_ids: Sequence[str]) -> None:
        if node_ids:
            gone = set(node_ids)
            self.pairs.remove(node_ids)
            self._attempts = {key: one for key, one in self._attempts.items() if gone.isdisjoint(key)}

    def _dialer(self, due: Due, able: Collection[str], now: float) -> str | None:
        """The one of two that can, and has more of its budget left; its budget is used."""
        able_ones = [one for one in (due.one, due.other) if one in able]
        node_id = min(able_ones, key=self._budget.free_at, default=None)
        return node_id if node_id is not None and self._budget.take(node_id, now) else None

    def _ask(self, due: Due, attempt: Attempt | None, now: float) -> None:
        if attempt is None:
            attempt = self._attempts[pair_of(due.one, due.other)] = Attempt(now)
        attempt.tries = min(attempt.tries + 1, 60)
        attempt.retry_at = now + max(PATIENCE, self._backoff(attempt))

    def _backoff(self, attempt: Attempt) -> float:
        return min(BACKOFF * 2.0 ** max(0, attempt.tries - 1), self._parameters.pair_interval)

    def _spread(self, count: int) -> float:
        """Over how long a newcomer's first meetings are spread: at most half of the budget of each node."""
        return min(self._parameters.pair_interval / 2, 2 * count / self._parameters.sync_rate)
