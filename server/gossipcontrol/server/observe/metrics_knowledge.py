"""The metrics of knowledge; the label ``store`` has a bounded number of values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gossipcontrol.server.core.knowledge.record import StoreCounts
from gossipcontrol.server.core.knowledge.tracker import Recorded
from gossipcontrol.server.observe.store_labels import OTHER, StoreLabels
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_GAUGES = (
    ("stability_lag_intentions", "Content intentions above the stability frontier.", "lag"),
    ("knowledge_at_risk_intentions", "Content intentions that one peer at most provably holds.", "at_risk"),
    ("knowledge_floating", "Intentions that wait for a predecessor or dependency.", "floating"),
    ("knowledge_unproven", "Intentions that wait for a proof that their author made them.", "unproven"),
    ("knowledge_forks", "Intentions with several successors by their author.", "forks"),
    ("knowledge_retained_intentions", "Intentions kept in memory.", "retained"),
)


class KnowledgeMetrics(Collector):
    """Counts recorded intentions, and shows the gauges of each store as of its last refresh.

    Scrapes run in a thread of their own, so they get finished values and never read the knowledge itself.
    """

    def __init__(self, registry: CollectorRegistry, stores: int) -> None:
        self._labels = StoreLabels(stores, self._is_empty)
        self._shown: dict[str, StoreCounts] = {}
        self._intentions = Counter(
            "gossipcontrol_knowledge_intentions", "Intentions recorded for the first time.", registry=registry
        )
        self._refused = Counter(
            "gossipcontrol_knowledge_refused",
            "Intentions refused: an invalid predecessor, no room, or too many authors of one identity.",
            ("reason",),
            registry=registry,
        )
        self._invalid, self._full = self._refused.labels("invalid"), self._refused.labels("full")
        self._excess = self._refused.labels("authors")
        self._signatures = Counter(
            "gossipcontrol_knowledge_signatures",
            "Signatures of intentions that were looked at.",
            ("result",),
            registry=registry,
        )
        self._right, self._wrong = self._signatures.labels("right"), self._signatures.labels("wrong")
        registry.register(self)

    def count(self, recorded: Recorded) -> None:
        """Count a batch."""
        self._intentions.inc(recorded.new)
        self._invalid.inc(recorded.invalid)
        self._full.inc(recorded.refused)
        self._excess.inc(recorded.excess)

    def count_signature(self, is_right: bool) -> None:
        """Count a signature."""
        (self._right if is_right else self._wrong).inc()

    def show(self, counts: StoreCounts) -> None:
        """Set the gauges of a store."""
        self._shown[counts.store_id] = counts
        self._labels.add(counts.store_id)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """The gauges; stores beyond the limit are summed."""
        shown = self._shown.copy()
        rows = list(shown.values())
        labelled = {store_id: [shown.pop(store_id)] for store_id in self._labels.export()}
        if shown:
            labelled[OTHER] = list(shown.values())
        for name, text, field in _GAUGES:
            family = GaugeMetricFamily(f"gossipcontrol_{name}", text, labels=("store",))
            for label, group in labelled.items():
                family.add_metric((label,), _sum(group, field))
            yield family
        yield CounterMetricFamily(
            "gossipcontrol_knowledge_floating_dropped",
            "Floating intentions given up because too many floated.",
            value=_sum(rows, "dropped"),
        )

    def _is_empty(self, store_id: str) -> bool:
        """Whether a store has nothing to show in any gauge."""
        row = self._shown[store_id]
        return not any(getattr(row, field) for _, _, field in _GAUGES)


def _sum(rows: Iterable[StoreCounts], field: str) -> int:
    return sum(getattr(row, field) for row in rows)
