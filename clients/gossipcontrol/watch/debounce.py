"""When a change of the network is told. Pure: time is given."""

from __future__ import annotations

from gossipcontrol.watch.fingerprint import Fingerprint


class Debounce:
    """A way out after none is told at once; all else once nothing has moved for the quiet time.

    A loss is not told, for nothing can be rejoined without a network, but it is remembered: when there is a way out
    again it is a new network event, even if it looks as before (a Wi-Fi roam, a flap of 100 ms).
    Churn that does not end is told after the longest time, in seconds, or twice the quiet time where that is more.
    A carrier that went and came back between two looks counts as such a loss: the fingerprint holds how often it did.
    """

    def __init__(self, first: Fingerprint, *, quiet: float = 0.25, longest: float = 2.0) -> None:
        self._told = first
        self._current = first
        self._quiet = quiet
        self._longest = max(longest, 2 * quiet)
        self._lost = False
        self._told_at = float("-inf")
        self._since: float | None = None
        self._moved_at = 0.0

    def observe(self, current: Fingerprint, now: float) -> Fingerprint | None:
        """Take what the network is now. Returns what must be told at once."""
        back = current.way_out and (not self._current.way_out or current.flapped_since(self._current))
        if not current.way_out:
            self._lost = True
        moved = current != self._current
        self._current = current
        if back and now - self._told_at >= self._quiet:
            return self._tell(now)
        if moved:
            self._moved_at = now
            self._since = now if self._since is None else self._since
        return None

    @property
    def owes(self) -> bool:
        """Whether something was seen that is not told yet."""
        return self._lost or self._since is not None

    def next_deadline(self) -> float | None:
        """When ``settle`` has something to say; None when nothing moves."""
        if self._since is None:
            return None
        return min(self._moved_at + self._quiet, self._since + self._longest)

    def settle(self, now: float) -> Fingerprint | None:
        """What must be told now that the quiet time is over, if anything."""
        deadline = self.next_deadline()
        if deadline is None or now < deadline:
            return None
        self._since = None
        if self._current.way_out and (self._lost or self._current != self._told):
            return self._tell(now)
        return None

    def _tell(self, now: float) -> Fingerprint:
        self._told, self._told_at, self._since, self._lost = self._current, now, None, False
        return self._current
