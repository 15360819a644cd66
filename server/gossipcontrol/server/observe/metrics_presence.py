"""The metrics of liveness; the label ``store`` has a bounded number of values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from gossipcontrol.server.core.decision import Cause
from gossipcontrol.server.core.liveness import Liveness
from gossipcontrol.server.core.presence.record import PeerState
from gossipcontrol.server.observe.store_labels import OTHER, StoreLabels
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

ROT_CAUSES = (Cause.SUSPICION, Cause.ISOLATED, Cause.OUTBOUND_ROT, Cause.INBOUND_ROT, Cause.PARTITION)
_AGES = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300)


class LivenessMetrics(Collector):
    """Counts findings, and reads the gauges at each scrape; at most ``stores`` stores have a label of their own.

    Scrapes run in a thread of their own, so they read counts that are kept up to date, never tables that change.
    """

    def __init__(self, registry: CollectorRegistry, stores: int, liveness: Liveness) -> None:
        self._liveness = liveness
        self._labels = StoreLabels(stores, self._is_empty)
        self._stalest: Callable[[], dict[str, float]] = dict
        self._now: Callable[[], float] = float
        self._claims_refused: Callable[[], dict[str, int]] = dict
        self._staleness = Histogram(
            "gossipcontrol_peer_staleness_seconds",
            "Time since the last sign of life of live peers, sampled.",
            buckets=_AGES,
            registry=registry,
        )
        rot = Counter(
            "gossipcontrol_rot_detected", "Findings of rot, repeated while it stands.", ("kind",), registry=registry
        )
        shared = Counter(
            "gossipcontrol_shared_ids", "Ids found to be used by two agents or machines.", ("kind",), registry=registry
        )
        self._shared = {kind: shared.labels(kind) for kind in ("node", "host")}
        self._rot = {cause: rot.labels(cause.name.lower()) for cause in ROT_CAUSES}
        self.observe_age: Callable[[float], None] = self._staleness.observe
        registry.register(self)

    def show_stalest(self, stalest: Callable[[], dict[str, float]], now: Callable[[], float]) -> None:
        """Set what tells when each store's stalest live peer was last heard, and the clock."""
        self._stalest, self._now = stalest, now

    def show_claims(self, refused: Callable[[], dict[str, int]]) -> None:
        """Set what tells how much that nodes said of others had no effect."""
        self._claims_refused = refused

    def label_store(self, store_id: str) -> None:
        """Give a store a label of its own, while the limit allows."""
        self._labels.add(store_id)

    def count_rot(self, cause: Cause) -> None:
        """Count a finding of rot."""
        self._rot[cause].inc()

    def count_shared(self, kind: str) -> None:
        """Count an id that two were found to use: ``node`` or ``host``."""
        self._shared[kind].inc()

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The gauges now."""
        total = self._liveness.counts()
        peers = GaugeMetricFamily("gossipcontrol_peers", "(store, peer) by presence.", labels=("state",))
        store_peers = GaugeMetricFamily("gossipcontrol_store_peers", "Peers by presence.", labels=("store", "state"))
        partitions = GaugeMetricFamily("gossipcontrol_partitions", "Stores that fall apart.", labels=("store",))
        rest, rest_partitioned = {state: total.peers.get(state, 0) for state in PeerState}, total.partitioned
        for state, count in rest.items():
            peers.add_metric((_name(state),), count)
        labelled = self._labels.export()
        for store_id in labelled:
            counts = self._liveness.store_counts(store_id)
            partitions.add_metric((store_id,), counts.partitioned)
            rest_partitioned -= counts.partitioned
            for state in PeerState:
                count = counts.peers.get(state, 0)
                store_peers.add_metric((store_id, _name(state)), count)
                rest[state] -= count
        # A change between two reads must not give a negative number.
        for state, count in rest.items():
            store_peers.add_metric((OTHER, _name(state)), max(0, count))
        partitions.add_metric((OTHER,), max(0, rest_partitioned))
        yield from (peers, store_peers, partitions, self._staleness_family(labelled))
        deaf_since = self._liveness.deaf_since()
        yield GaugeMetricFamily(
            "gossipcontrol_deaf_seconds",
            "Time for which the service has heard nobody, because all nodes fell silent at once; 0 while it hears.",
            value=0.0 if deaf_since is None else max(0.0, self._now() - deaf_since),
        )
        overloaded_since = self._liveness.overloaded_since()
        yield GaugeMetricFamily(
            "gossipcontrol_overloaded_seconds",
            "Time for which the service has heard less than half of the nodes that reported before; 0 while it hears.",
            value=0.0 if overloaded_since is None else max(0.0, self._now() - overloaded_since),
        )
        yield GaugeMetricFamily(
            "gossipcontrol_pairs_unsynced", "Pairs online and overdue for a direct sync.", value=total.pairs_unsynced
        )
        refused = CounterMetricFamily(
            "gossipcontrol_claims_refused", "What nodes said of others and had no effect.", labels=("kind",)
        )
        for kind, count in self._claims_refused().items():
            refused.add_metric((kind,), count)
        yield refused

    def _is_empty(self, store_id: str) -> bool:
        """Whether a store has no peer: it is gone."""
        return not any(self._liveness.store_counts(store_id).peers.values())

    def _staleness_family(self, labelled: Collection[str]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(
            "gossipcontrol_store_staleness_seconds",
            "Time since the last sign of life of the stalest live peer.",
            labels=("store",),
        )
        now, stalest, own = self._now(), self._stalest(), frozenset(labelled)
        for store_id in labelled:
            if store_id in stalest:
                family.add_metric((store_id,), max(0.0, now - stalest[store_id]))
        others = _oldest(at for store_id, at in stalest.items() if store_id not in own)
        if others is not None:
            family.add_metric((OTHER,), max(0.0, now - others))
        return family


def _oldest(instants: Iterable[float]) -> float | None:
    return min(instants, default=None)


def _name(state: PeerState) -> str:
    return state.name.lower()
