"""When a change of the network is told. Pure: time is given."""

from __future__ import annotations

from gossipcontrol.watch.fingerprint import Fingerprint


class Debounce:
    """A way out after none is told at once; all else, a loss too, once nothing has moved for the quiet time.

    A loss is remembered even when it was too short to be told: when there is a way out again it is a new network event,
    even if it looks as before (a Wi-Fi roam, a flap of 100 ms).
    """

    def __init__(self, first: Fingerprint, *, quiet: float = 0.25, longest: float = 2.0) -> None:
        self._told = first
        self._current = first
        self._quiet = quiet
        self._longest = longest
        self._lost = False
        self._told_at = float("-inf")
        self._since: float | None = None
        self._moved_at = 0.0

    def observe(self, current: Fingerprint, now: float, *, lost: bool = False) -> Fingerprint | None:
        """Take what the network is now; ``lost``: a carrier went meanwhile. Returns what must be told at once."""
        back = current.way_out and (lost or not self._current.way_out)
        if lost or not current.way_out:
            self._lost = True
        moved = current != self._current or lost
        self._current = current
        if back and now - self._told_at >= self._quiet:
            return self._tell(now)
        if moved:
            self._moved_at = now
            self._since = now if self._since is None else self._since
        return None

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
        if not self._current.way_out:
            return self._tell_loss()
        if self._lost or self._current != self._told:
            return self._tell(now)
        return None

    def _tell_loss(self) -> Fingerprint | None:
        """Tell a loss once; it stays remembered, so that the way back is an event whatever it looks like."""
        told, self._told = self._told, self._current
        return self._current if told.way_out else None

    def _tell(self, now: float) -> Fingerprint:
        self._told, self._told_at, self._since, self._lost = self._current, now, None, False
        return self._current
