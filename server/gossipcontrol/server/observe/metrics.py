"""The metrics. Names and labels are part of the contract; every label has a bounded set of values."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version

import grpc
from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.core.deciding.record import Counts
from gossipcontrol.server.core.decision import Cause, DecisionKind, Outcome, Rung
from gossipcontrol.server.core.effect import AnnounceRejoin, AnswerTrigger, AskPeer, StartRejoin
from gossipcontrol.server.core.event import ChangeKind
from gossipcontrol.server.core.memory import MemoryBudget
from gossipcontrol.server.errors import PermissionDenied, Unauthenticated
from gossipcontrol.server.state.journal import JournalStats
from gossipcontrol.server.wire.unrecognized import FIELDS
from gossipcontrol.v1 import gossip_control_pb2
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,  # pyright: ignore[reportUnknownVariableType]
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

# When a counter was made says nothing here, and would be every third series.
disable_created_metrics()  # type: ignore[no-untyped-call]
_DELAYS = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 4, 6, 8, 12, 30, 60, 300, 600)
_DURATIONS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_LATENCIES = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1, 5)
_PLATFORM_NAMES = {
    number: name.removeprefix("PLATFORM_").lower() for name, number in gossip_control_pb2.Platform.items()
}
TALLIED = 256
"""Calls that are counted together at most."""
_ENDED = frozenset(Outcome) - {Outcome.WAITING, Outcome.PARKED, Outcome.RUNNING}


class Metrics:
    """The service's own registry. Labelled children are bound once, because a look-up costs four times an increment."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        self.registry = registry = CollectorRegistry()
        self._tallies = _Tallies()
        registry.register(self._tallies)  # first, so that the others show what it counts
        ProcessCollector(registry=registry)
        registry.register(_CountsCollector(counts))
        self._triggers = _triggers(registry)
        self._rejoins = _rejoins(registry)
        self._start_delay, self._duration = _rejoin_times(registry)
        self._escalations = _escalations(registry)
        self._restarts = _restarts(registry)
        self._changes = _changes(registry)
        self._unrecognized = _unrecognized(registry)
        self._shed = Counter(
            "gossipcontrol_reports_shed",
            "Reports left out because they were older than an interval and newer ones had come.",
            registry=registry,
        )
        self._limited = _limited(registry)
        self._denied = _denied(registry)
        self._request_count, self._request_seconds = _requests(registry)
        self.state_commit, self.state_failures, self.state_accepting = _state(registry)
        self._untallied = defaultdict[Counter, int](int)
        """What every trigger counts, as counted since the last scrape: the library takes a lock for each."""
        self._tallies.add(self._tally)
        _build(registry)

    def _tally(self) -> None:
        """Have the library count what is yet to be counted."""
        counted, self._untallied = self._untallied, defaultdict[Counter, int](int)
        for counter, count in counted.items():
            counter.inc(count)

    def show_state(self, stats: Callable[[], JournalStats]) -> None:
        """Show the sizes of the log."""
        self.registry.register(_StateCollector(stats))

    def show_memory(self, budget: MemoryBudget) -> None:
        """Show the memory budget and what each book takes of it."""
        self.registry.register(_MemoryCollector(budget))

    def count_answer(self, answer: AnswerTrigger) -> None:
        """Count the decisions about a trigger; the recorded answer to a repeated request is not counted again."""
        if answer.cause is not None and not answer.replayed:
            row = self._triggers[answer.cause - 1]
            for decision in answer.decisions:
                self._untallied[row[decision.kind - 1]] += 1

    def count_change(self, platform_number: int, kind: ChangeKind) -> None:
        """Count a reported change of a host; a platform that this version does not know is unspecified."""
        self._untallied[self._changes[platform_number if platform_number in _PLATFORM_NAMES else 0, kind]] += 1

    def count_unrecognized(self, field: str) -> None:
        """Count a value of a newer client that was ignored."""
        self._unrecognized[field].inc()

    def count_shed_report(self) -> None:
        """Count a report that was left out."""
        self._shed.inc()

    def count_limited(self, limit: str) -> None:
        """Count what a limit of an identity refused or held up."""
        self._limited[limit].inc()

    def count_denied(self, error: PermissionDenied | Unauthenticated) -> None:
        """Count a call that its identity may not make."""
        if isinstance(error, Unauthenticated):
            self._denied["identity"].inc()
        else:
            self._denied["field" if error.field else "call"].inc()

    def count_start(self, start: StartRejoin) -> None:
        """Count the start of an attempt."""
        if start.delay is not None:
            self._start_delay.observe(start.delay)
        if start.rung > Rung.REJOIN:
            self._escalations[start.rung].inc()

    def count_asked(self, asked: AskPeer) -> None:
        """Count that a node was asked to rejoin towards another one."""
        self._escalations[Rung.ASK_PEER].inc()
        self._triggers[Cause.ASKED - 1][asked.decision.kind - 1].inc()

    def count_advice(self) -> None:
        """Count an advice to restart a node."""
        self._escalations[Rung.RESTART_ADVISED].inc()

    def count_restart(self, is_ok: bool) -> None:
        """Count a restart command that an agent ran."""
        self._restarts[is_ok].inc()

    def count_end(self, announced: AnnounceRejoin) -> None:
        """Count a rejoin that ended."""
        if announced.outcome in _ENDED:
            self._rejoins[announced.cause, announced.outcome].inc()
        if announced.duration is not None:
            self._duration.observe(announced.duration)

    def requests(self, rpc: str) -> RequestMetrics:
        """The metrics of one RPC."""
        requests = RequestMetrics(
            {code: self._request_count.labels(rpc, code.name) for code in grpc.StatusCode},
            lambda code: self._request_seconds.labels(rpc, code.name),
        )
        self._tallies.add(requests.tally)
        return requests


class RequestMetrics:
    """Counts the calls of one RPC."""

    def __init__(
        self, counters: dict[grpc.StatusCode, Counter], seconds: Callable[[grpc.StatusCode], Histogram]
    ) -> None:
        self._counters = counters
        self._ok = counters[grpc.StatusCode.OK]
        self._seconds = seconds
        self._ok_seconds = seconds(grpc.StatusCode.OK)
        self._untallied: list[float] = []
        """How long calls took that are yet to be counted: many in a row cost less than one by one."""

    def ok(self, seconds: float) -> None:
        """Count a unary call that succeeded."""
        self._untallied.append(seconds)
        if len(self._untallied) >= TALLIED:
            self.tally()

    def tally(self) -> None:
        """Count what is yet to be counted."""
        seconds, self._untallied = self._untallied, []
        if seconds:
            self._ok.inc(len(seconds))
        observe = self._ok_seconds.observe
        for one in seconds:
            observe(one)

    def ended(self, code: grpc.StatusCode, seconds: float | None = None) -> None:
        """Count a call that ended with this code; without a time for streams, whose length says nothing."""
        self._counters[code].inc()
        if seconds is not None:
            self._seconds(code).observe(seconds)


# One function per family: makes the family and binds the children that are known at the start.


def _triggers(registry: CollectorRegistry) -> list[list[Counter]]:
    family = Counter(
        "gossipcontrol_triggers", "Triggers by cause and decision.", ("cause", "decision"), registry=registry
    )
    return [[family.labels(*_names(cause, kind)) for kind in DecisionKind] for cause in Cause]


def _rejoins(registry: CollectorRegistry) -> dict[tuple[Cause, Outcome], Counter]:
    family = Counter(
        "gossipcontrol_rejoins",
        "Rejoins that ended, by cause of the first trigger and outcome.",
        ("cause", "outcome"),
        registry=registry,
    )
    return {(cause, outcome): family.labels(*_names(cause, outcome)) for cause in Cause for outcome in _ENDED}


def _rejoin_times(registry: CollectorRegistry) -> tuple[Histogram, Histogram]:
    delay = Histogram(
        "gossipcontrol_rejoin_start_delay_seconds",
        "From the arrival of the oldest trigger to the start of the rejoin that covers it.",
        buckets=_DELAYS,
        registry=registry,
    )
    duration = Histogram(
        "gossipcontrol_rejoin_duration_seconds",
        "From the first start of a rejoin to its proof.",
        buckets=_DURATIONS,
        registry=registry,
    )
    return delay, duration


def _escalations(registry: CollectorRegistry) -> dict[Rung, Counter]:
    family = Counter(
        "gossipcontrol_escalations",
        "Attempts above rejoin, knocks, and advices to restart.",
        ("rung",),
        registry=registry,
    )
    return {rung: family.labels(rung.name.lower()) for rung in Rung if rung > Rung.REJOIN}


def _restarts(registry: CollectorRegistry) -> dict[bool, Counter]:
    family = Counter(
        "gossipcontrol_restart_commands",
        "Restart commands that agents ran because a restart was advised, by outcome.",
        ("outcome",),
        registry=registry,
    )
    return {True: family.labels("ok"), False: family.labels("failed")}


def _changes(registry: CollectorRegistry) -> dict[tuple[int, ChangeKind], Counter]:
    family = Counter(
        "gossipcontrol_network_changes",
        "Reported changes of hosts by platform and kind.",
        ("platform", "kind"),
        registry=registry,
    )
    return {
        (number, kind): family.labels(name, kind.name.lower())
        for number, name in _PLATFORM_NAMES.items()
        for kind in ChangeKind
    }


def _unrecognized(registry: CollectorRegistry) -> dict[str, Counter]:
    family = Counter(
        "gossipcontrol_unrecognized_values", "Values of newer clients that were ignored.", ("field",), registry=registry
    )
    return {field: family.labels(field) for field in FIELDS}


def _denied(registry: CollectorRegistry) -> dict[str, Counter]:
    family = Counter(
        "gossipcontrol_denied_calls",
        "Calls whose identity is not known, may not make them, or does not own a field.",
        ("reason",),
        registry=registry,
    )
    return {reason: family.labels(reason) for reason in ("identity", "call", "field")}


def _limited(registry: CollectorRegistry) -> dict[str, Counter]:
    family = Counter(
        "gossipcontrol_identity_limited",
        "Calls that a limit of their identity refused, and messages of streams that it held up.",
        ("limit",),
        registry=registry,
    )
    return {limit: family.labels(limit) for limit in IdentityLimits().by_key}


def _requests(registry: CollectorRegistry) -> tuple[Counter, Histogram]:
    """Bound later, when the handlers of the RPCs are added."""
    count = Counter("gossipcontrol_requests", "Calls by RPC and status code.", ("rpc", "code"), registry=registry)
    seconds = Histogram(
        "gossipcontrol_request_duration_seconds",
        "Time in the service of unary calls by RPC and status code.",
        ("rpc", "code"),
        buckets=_LATENCIES,
        registry=registry,
    )
    return count, seconds


def _state(registry: CollectorRegistry) -> tuple[Histogram, Counter, Gauge]:
    commit = Histogram(
        "gossipcontrol_state_commit_seconds",
        "Time of one transaction, which keeps all events that waited.",
        buckets=_LATENCIES,
        registry=registry,
    )
    failures = Counter(
        "gossipcontrol_state_failures",
        "Transactions and snapshots that failed; each is tried again.",
        registry=registry,
    )
    accepting = Gauge(
        "gossipcontrol_state_accepting", "1 while events can be kept, 0 while triggers are refused.", registry=registry
    )
    accepting.set(1)
    return commit, failures, accepting


def _build(registry: CollectorRegistry) -> None:
    family = Gauge("gossipcontrol_build_info", "Versions in use.", ("version", "grpcio", "python"), registry=registry)
    family.labels(version("gossipcontrol"), grpc.__version__, platform.python_version()).set(1)


class _Tallies(Collector):
    """Has everything counted before a scrape reads it; it has no metrics of its own."""

    def __init__(self) -> None:
        self._tally: list[Callable[[], None]] = []

    def add(self, tally: Callable[[], None]) -> None:
        """Call this before each scrape."""
        self._tally.append(tally)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Nothing."""
        for tally in self._tally:
            tally()
        return iter(())


class _CountsCollector(Collector):
    """Reads the core's gauges at each scrape."""

    def __init__(self, counts: Callable[[], Counts]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges now."""
        counts = self._counts()
        for name, text, value in (
            ("rejoin_queue_length", "Rejoins that wait for their window or their turn.", counts.queued),
            ("rejoins_parked", "Rejoins that wait for an agent to attach.", counts.parked),
            ("rejoins_running", "Rejoins that agents carry out now.", counts.running),
            ("agents_attached", "Agents attached.", counts.attached),
            ("nodes", "Nodes known.", counts.nodes),
            ("stores", "Stores known.", counts.stores),
            ("known_peers", "(store, peer) pairs remembered.", counts.peers),
        ):
            yield GaugeMetricFamily(f"gossipcontrol_{name}", text, value=value)


class _StateCollector(Collector):
    """Reads the log's sizes at each scrape."""

    def __init__(self, stats: Callable[[], JournalStats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges now."""
        stats = self._stats()
        yield GaugeMetricFamily(
            "gossipcontrol_state_log_bytes", "Bytes logged since the last snapshot.", value=stats.log_bytes
        )
        yield GaugeMetricFamily(
            "gossipcontrol_state_log_events", "Events logged since the last snapshot.", value=stats.entries
        )


class _MemoryCollector(Collector):
    """Reads the memory budget at each scrape."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges now."""
        books = GaugeMetricFamily(
            "gossipcontrol_memory_bytes", "Bytes of the memory budget that a book takes, at most.", labels=("book",)
        )
        for name, size in self._budget.by_book().items():
            books.add_metric((name,), size)
        yield books
        yield GaugeMetricFamily(
            "gossipcontrol_memory_limit_bytes", "Bytes that all books may take.", value=self._budget.limit
        )


def _names(cause: Cause, other: DecisionKind | Outcome) -> tuple[str, str]:
    return cause.name.lower(), other.name.lower()
