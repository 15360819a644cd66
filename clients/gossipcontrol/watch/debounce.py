"""When a change of the network is reported. Pure: time is a parameter."""

from __future__ import annotations

from gossipcontrol.watch.fingerprint import Fingerprint


class Debounce:
    """A default route that returns is reported at once; all else when nothing has changed for the quiet time.

    A loss is not reported, because nothing can be rejoined without a network, but it is remembered: when the default
    route returns, that is a new network event even if it looks as before (a Wi-Fi roam, a flap of 100 ms).
    Churn that does not end is reported after ``longest`` seconds, or after twice the quiet time if that is more.
    A carrier that was lost and came back between two snapshots counts as such a loss; the fingerprint shows it.
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

    def observe(self, current: Fingerprint, now: float) -> Fingerprint | None:
        """Note what the network is now; returns what must be reported at once."""
        back = current.has_default_route and (
            not self._current.has_default_route or current.flapped_since(self._current)
        )
        if not current.has_default_route:
            self._lost = True
        moved = current != self._current
        self._current = current
        if back and now - self._reported_at >= self._quiet:
            return self._report(now)
        if moved:
            self._moved_at = now
            self._since = now if self._since is None else self._since
        return None

    @property
    def pending(self) -> bool:
        """Whether something was seen that is not reported yet."""
        return self._lost or self._since is not None

    def next_deadline(self) -> float | None:
        """When to call ``expire``; None when nothing has changed."""
        if self._since is None:
            return None
        return min(self._moved_at + self._quiet, self._since + self._longest)

    def expire(self, now: float) -> Fingerprint | None:
        """What must be reported now that the quiet time is over, if anything."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        self._since = None
        if self._current.has_default_route and (self._lost or self._current != self._reported):
            return self._report(now)
        return None

    def _report(self, now: float) -> Fingerprint:
        self._reported, self._reported_at, self._since, self._lost = self._current, now, None, False
        return self._current
