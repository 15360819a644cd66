"""Whether the service has room to hear its nodes: while it hears few of those that report, silence proves nothing.

An overloaded service serves some reports and not others; to it, those that wait look as if they had died.
"""

from __future__ import annotations

from collections import OrderedDict

from gossipcontrol.server.core.event import NEVER

WINDOW_INTERVALS = 1.5
"""Report intervals within which every node that lives and is heard reports at least once."""
MIN_SHARE = 0.5
"""Least share of the known reporters that must have reported within the window."""
MIN_REPORTERS = 50
"""Fewest known reporters that are judged by their share: half of a few nodes may well have gone."""
WAITED_SHARE = 0.1
"""Share of the known reporters whose reports waited for longer than an interval that shows a backlog."""
KNOWN_FOR = 600.0
"""Seconds for which a node that reported is expected to report: as long as a disturbance may last."""
MAX_KNOWN = 65_536
"""Most nodes that are expected to report; those that reported longest ago are forgotten first."""


class Overload:
    """Compares the nodes that reported lately with those that are known to report."""

    def __init__(self, soonest: float, settle: float) -> None:
        self._least_window = MIN_SHARE * soonest
        """Seconds; if all are heard in turn within ``soonest``, the shortest silence that makes a peer OFFLINE, half
        of them reported within this."""
        self._settle = settle
        """Seconds after an overload within which all report again, if they live."""
        self._heard = OrderedDict[str, float]()
        """Node -> its last report, within the window; the newest comes last."""
        self._missed = OrderedDict[str, float]()
        """The same of nodes that are expected to report, but have not done so within the window."""
        self._waited = OrderedDict[str, float]()
        """Node -> when its last report came that had waited for longer than an interval, within the window."""
        self._interval = 0.0
        """Longest report interval that a node may still follow."""
        self._interval_at = NEVER
        """When it was asked for last."""
        self._began_at: float | None = None
        """When the service was last found to be overloaded, or first of several times in a row."""
        self._ended_at: float | None = None
        """When it heard most of its reporters again after that; None while it is overloaded."""
        self._behind_since = self._behind_until = NEVER
        """Since when, and for how much longer, reports may wait because the service was behind."""

    @property
    def _window(self) -> float:
        """Seconds within which most reporters must have reported."""
        return max(self._least_window, WINDOW_INTERVALS * self._interval)

    def since(self) -> float | None:
        """When the service was found to hear too few of its reporters (service time); None while it hears enough."""
        return self._began_at if self._ended_at is None else None

    def record_report(self, node_id: str, interval: float, now: float) -> None:
        """Record that a node reported, while nodes are asked to report at this interval."""
        if interval >= self._interval or now > self._interval_at + WINDOW_INTERVALS * self._interval:
            self._interval, self._interval_at = interval, now
        self._missed.pop(node_id, None)
        self._heard[node_id] = now
        self._heard.move_to_end(node_id)
        if len(self._heard) + len(self._missed) > MAX_KNOWN:
            (self._missed or self._heard).popitem(last=False)
        self._judge(now)

    def record_wait(self, node_id: str, now: float) -> None:
        """Record that a report that comes now has waited for longer than an interval."""
        waited = self._waited
        waited[node_id] = now
        waited.move_to_end(node_id)
        while next(iter(waited.values())) + self._window < now or len(waited) > MAX_KNOWN:
            waited.popitem(last=False)
        known = len(self._heard) + len(self._missed)
        if known >= MIN_REPORTERS and len(waited) >= WAITED_SHARE * known:
            self.on_behind(now)

    def forget(self, node_id: str) -> None:
        """A node said that it goes: it is not expected to report."""
        self._heard.pop(node_id, None)
        self._missed.pop(node_id, None)

    def on_behind(self, now: float) -> None:
        """The service is behind with its deadlines or with reports, so others may wait, too."""
        if now > self._behind_until:
            self._behind_since = now
        self._behind_until = now + WINDOW_INTERVALS * self._interval

    def offline_at(self, at: float, now: float) -> float:
        """When a peer is offline that would be at ``at`` by its silence; who was offline before an overload stays so.

        What passes while the service is overloaded proves nothing: time starts again after it. While it is only behind,
        nobody becomes offline until what waited has been heard.
        """
        self._judge(now)
        if self._behind_since < at < self._behind_until:
            at = self._behind_until
        if self._began_at is None or at <= self._began_at:
            return at
        return max(at, (now if self._ended_at is None else self._ended_at) + self._settle)

    def _judge(self, now: float) -> None:
        heard, missed, window, fell_at = self._heard, self._missed, self._window, now
        while missed and next(iter(missed.values())) + KNOWN_FOR < now:
            missed.popitem(last=False)
        known = len(heard) + len(missed)
        while heard and (at := next(iter(heard.values()))) + window < now:
            missed[heard.popitem(last=False)[0]] = at
            if len(heard) < MIN_SHARE * known:
                fell_at = min(fell_at, at + window)  # it began then, however late it is seen
        if known >= MIN_REPORTERS and len(heard) < MIN_SHARE * known:
            if self._began_at is None or (self._ended_at is not None and fell_at >= self._ended_at + self._settle):
                self._began_at = fell_at
            self._ended_at = None
        elif self._began_at is not None and self._ended_at is None:
            self._ended_at = now
