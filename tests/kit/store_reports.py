"""The reports of one store for unit tests of diagnosis, in few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import StoreReports
from gossipcontrol.server.core.event import NEVER, LivenessReported
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import PeerState

from tests.kit.parts import finish

PARAMETERS = LivenessParameters()


class Store:
    """The reports of one store, and the links that they prove."""

    def __init__(self, parameters: LivenessParameters = PARAMETERS) -> None:
        self.parameters = parameters
        self.reports = StoreReports("notes", parameters)
        self.state: Callable[[str], PeerState | None] = lambda peer_id: PeerState.ONLINE

    def say(
        self,
        now: float,
        node_id: str,
        heard: Mapping[str, int] | None = None,
        neighbors: str = "",
        sent: int = 0,
        speaker: str = "",
    ) -> None:
        """A node reports its counts per peer (heard just now), its neighbours (up for long), and its broadcasts."""
        counts = heard or {}
        at = {peer_id: now - 0.5 if count else NEVER for peer_id, count in counts.items()}
        view = dict.fromkeys(neighbors, 0.0)
        heard_counts = tuple(counts.values())
        report = LivenessReported(node_id, "notes", at, view, sent, heard_counts=heard_counts, speaker=speaker)
        self.reports.record(report, now)

    def links(self, now: float) -> Links:
        links = Links(self.reports, self.parameters, self.state, now)
        finish(links.build())
        return links


def fall_apart(store: Store, start: int = 0, until: int = 30) -> None:
    """Nodes a and b hear each other, and so do c and d; all broadcast, and all are neighbours in a row."""
    for second in range(start, until, 2):
        count = 1 + second // 2
        store.say(float(second), "a", {"b": count, "c": 1, "d": 1}, "b", count)
        store.say(float(second), "b", {"a": count, "c": 1, "d": 1}, "ac", count)
        store.say(float(second), "c", {"d": count, "a": 1, "b": 1}, "bd", count)
        store.say(float(second), "d", {"c": count, "a": 1, "b": 1}, "c", count)
