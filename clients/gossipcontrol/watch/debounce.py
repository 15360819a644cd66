"""When a change of the network is reported. Pure: time is a parameter."""

from __future__ import annotations

from dataclasses import dataclass

from gossipcontrol.watch.fingerprint import CARRIER, Fingerprint

DETAIL_BYTES = 256
"""Most bytes of a detail that the service accepts."""


@dataclass(frozen=True, slots=True)
class Report:
    """A change that must be reported."""

    network: Fingerprint
    changes: tuple[str, ...]
    """What is different since the last report, in words; empty when it looks as before and was lost meanwhile."""

    def describe(self, limit: int = DETAIL_BYTES) -> str:
        """How the network is now, and what changed if it does not look as before; at most so many bytes.

        The names in it are the user's, and may be of any characters.
        """
        looks_as_before = self.changes in ((), (CARRIER,))
        changed = "" if looks_as_before else f" ({', '.join(self.changes)} changed)"
        network = self.network.describe().encode(errors="replace")[: limit - len(changed)]
        return network.decode(errors="ignore") + changed


class Debounce:
    """A default route that returns is reported at once; all else when nothing has changed for the quiet time.

    While no peer can be reached nothing is reported, because nothing can be rejoined, but the loss is remembered: when
    the network returns, that is a new network event even if it looks as before (a Wi-Fi roam, a flap of 100 ms). A
    default route that goes and comes back is remembered too, and so is a carrier that was lost and came back between
    two snapshots; the fingerprint shows it. Where other interfaces still reach peers, the loss of a default route is a
    change like any other. Churn that does not end is reported after ``longest`` seconds, or after twice the quiet time
    if that is more.
    """

    def __init__(self, first: Fingerprint, *, quiet: float = 0.25, longest: float = 2.0) -> None:
        self._reported = first
        self._current = first
        self._quiet = quiet
        self._longest = max(longest, 2 * quiet)
        self._lost = False
        self._reported_at = float("-inf")
        self._since: float | None = None
        self._moved_at = 0.0

    def observe(self, current: Fingerprint, now: float) -> Report | None:
        """Note what the network is now; returns what must be reported at once."""
        before, self._current = self._current, current.with_routers_of(self._current)
        current = self._current
        self._reported = self._reported.with_peers_of(current).with_routers_of(current)
        self._lost |= not current.reachable or bool(before.defaults - current.defaults)
        moved = bool(current.changes_since(before)) or current.reachable != before.reachable
        if self._is_back(before) and now - self._reported_at >= self._quiet:
            return self._report(now)
        if moved or (self._since is None and self._is_new):
            self._moved_at = now
            self._since = now if self._since is None else self._since
        return None

    def _is_back(self, before: Fingerprint) -> bool:
        """Whether what was lost has just come back, as whole as it was: an address alone may wait for its route."""
        current = self._current
        if not current.reachable or (self._reported.defaults and not current.defaults):
            return False
        returned = not before.reachable or bool(current.defaults and not before.defaults)
        return returned or current.flapped_since(before)

    @property
    def _is_new(self) -> bool:
        """Whether it must be reported once it is quiet."""
        return self._current.reachable and (self._lost or bool(self._current.changes_since(self._reported)))

    @property
    def pending(self) -> bool:
        """Whether something was seen that is not reported yet."""
        return self._lost or self._since is not None

    def next_deadline(self) -> float | None:
        """When to call ``expire``; None when nothing has changed."""
        if self._since is None:
            return None
        return min(self._moved_at + self._quiet, self._since + self._longest)

    def expire(self, now: float) -> Report | None:
        """What must be reported now that the quiet time is over, if anything."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        self._since = None
        return self._report(now) if self._is_new else None

    def _report(self, now: float) -> Report:
        report = Report(self._current, self._current.changes_since(self._reported))
        self._reported, self._reported_at, self._since, self._lost = self._current, now, None, False
        return report
