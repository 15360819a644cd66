"""What a watcher would report of a recording: the same rules, with the recorded times instead of a clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from gossipcontrol.watch.change import ChangeKind, Snapshot
from gossipcontrol.watch.debounce import Debounce, Report
from gossipcontrol.watch.fingerprint import Fingerprint, take_fingerprint
from gossipcontrol.watch.recording import Recording
from gossipcontrol.watch.route_layout import Layout, layout_of
from gossipcontrol.watch.route_message import MalformedError, hear
from gossipcontrol.watch.route_table import take_snapshot
from gossipcontrol.watch.scope import Filter

FOREVER = float("inf")


@dataclass(frozen=True, slots=True)
class Replayed:
    """One report."""

    at: float
    """Seconds since the start of the recording."""
    kind: ChangeKind
    detail: str
    network: Fingerprint | None = None


@dataclass
class _Lists:
    """What the kernel listed last: a recorded look is read again from its bytes, with the parsers of this release."""

    layout: Layout
    kept: dict[str, bytes] = field(default_factory=dict[str, bytes])
    losses: Counter[int] = field(default_factory=Counter[int])

    def add(self, what: str, data: bytes) -> None:
        """Keep a list; of a message, what it says was lost."""
        if what != "message":
            self.kept[what] = data
            return
        try:
            self.losses.update(hear(data, self.layout, frozenset()).lost)
        except MalformedError:  # the watcher took a fresh look
            return

    def links(self) -> bytes:
        """As it was recorded."""
        return self.kept["links"]

    def routes(self) -> bytes:
        """As it was recorded."""
        return self.kept["routes"]

    def neighbors(self) -> bytes:
        """As it was recorded."""
        return self.kept["neighbors"]


def snapshots(recording: Recording) -> Iterator[tuple[float, Snapshot | ChangeKind]]:
    """The looks at the network and the changes of power; looks are made from the kernel's bytes where they are there.

    Raises MalformedError for bytes that do not keep to the layout.
    """
    layout = layout_of(recording.platform)
    lists = _Lists(layout) if layout else None
    for entry in recording.entries:
        if entry.raw and lists is not None:
            lists.add(*entry.raw)
        elif entry.power is not None:
            yield entry.at, entry.power
        elif entry.snapshot is not None:
            if lists is not None and len(lists.kept) == 3:
                yield entry.at, take_snapshot(lists, lists.layout, lists.losses, entry.snapshot.peers)
            else:
                yield entry.at, entry.snapshot


def replay(recording: Recording, chosen: Filter, quiet: float = 0.25) -> Iterator[Replayed]:
    """Each report, in order."""
    debounce: Debounce | None = None
    for at, seen in [*snapshots(recording), (FOREVER, None)]:
        while debounce is not None and (deadline := debounce.next_deadline()) is not None and deadline < at:
            if report := debounce.expire(deadline):
                yield _replayed(deadline, report)
        if isinstance(seen, Snapshot):
            network = take_fingerprint(seen, chosen)
            if debounce is None:
                debounce = Debounce(network, quiet=quiet)
            if report := debounce.observe(network, at):
                yield _replayed(at, report)
        elif seen is not None:
            yield Replayed(at, seen, "about to sleep" if seen is ChangeKind.SLEEPING else "woke from sleep")


def _replayed(at: float, report: Report) -> Replayed:
    return Replayed(at, ChangeKind.CHANGED, report.describe(), report.network)
