"""One-way gossip (rot), by counts within one side: broadcasts nobody hears, and nodes that miss what others hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass

from gossipcontrol.server.core.diagnosis.deliveries import IN_FLIGHT, AuthorDeliveries, Loss
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import AUTHORS_PER_PART, StoreReports
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters

OUTBOUND_SHARE = 0.1
"""A node rots outbound if at least this share of its broadcasts reached nobody."""
INBOUND_SHARE = 0.25
"""A node rots inbound if it missed at least this share of what others heard."""
HOLD_SHARE = 1 / 6
"""How long rot must last, as a share of the window: after a shorter cut, transports deliver what they held back."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the counts prove about a node: rot, with evidence, or health."""

    node_id: str
    evidence: str = ""
    """Empty: the node is healthy."""


@dataclass(slots=True, eq=False)
class _InboundLoss:
    """What one observer missed of what others heard."""

    missed: float = 0.0
    heard_by_others: float = 0.0
    authors: int = 0
    settled: float = 0.0
    """The part of ``heard_by_others`` that is old enough to prove health."""


def reset_marks_across_sides(reports: StoreReports, links: Links) -> Generator[None]:
    """Clear the marks across sides: what they miss of each other is no rot, neither now nor after they are joined.

    Pauses after each part of the work, as all that looks at a whole store.
    """
    if links.is_whole:
        return
    same_side: dict[str, set[int]] = {}
    for node_id, observer in links.fresh.items():
        same_side.setdefault(links.side(node_id), set()).add(observer.number)
    for count, (author_id, delivery) in enumerate(reports.deliveries.items()):
        if count % AUTHORS_PER_PART == 0:
            yield
        delivery.reset_marks_except(same_side.get(links.side(author_id), ()))


def _reliable_observers(reports: StoreReports, links: Links) -> Generator[None, None, tuple[set[int], set[int]]]:
    """(observers that would name a neighbour they heard, observers that would name any author).

    Both send complete reports and have heard somebody; the latter have heard an author that is not their neighbour.
    """
    complete = {one.number: one for one in links.fresh.values() if one.is_complete}
    names_neighbors, names_everyone = set[int](), set[int]()
    for count, delivery in enumerate(reports.deliveries.values()):
        if count % AUTHORS_PER_PART == 0:
            yield
        for number, heard_at in delivery.last_heard(complete):
            if heard_at > NEVER:
                names_neighbors.add(number)
            observer = complete[number]
            if (
                observer.lists_neighbors
                and heard_at > observer.neighbor_lost_at + IN_FLIGHT
                and not delivery.is_neighbor(number)
            ):
                names_everyone.add(number)
    return names_neighbors, names_everyone


class Rot:
    """One comparison of a store's counts, by ``compare``. A node about which nothing is proved is in neither list."""

    def __init__(self, reports: StoreReports, links: Links, parameters: LivenessParameters, now: float) -> None:
        self._links = links
        self._settled_until = now - parameters.rot_window / 2
        """Marks set by then prove health; messages sent less often may be just the ones that are lost."""
        self._least = parameters.rot_messages
        self._reports = reports
        self._side_sizes = Counter(map(links.side, links.fresh))
        """Side -> number of its reporting nodes."""
        self._names_neighbors: Collection[int] = ()
        self._names_everyone: Collection[int] = ()
        self.outbound: list[Verdict] = []
        self.inbound: list[Verdict] = []

    def compare(self) -> Generator[None]:
        """Find the verdicts, with a pause after each part of the work; the reports must not change meanwhile."""
        self._names_neighbors, self._names_everyone = yield from _reliable_observers(self._reports, self._links)
        inbound: dict[int, _InboundLoss] = {}
        for count, (author_id, delivery) in enumerate(self._reports.deliveries.items()):
            if author_id not in self._links.fresh:
                continue
            if count % (AUTHORS_PER_PART // 4) == 0:
                yield
            losses, is_settled = self._losses_of(author_id, delivery), delivery.marked_at <= self._settled_until
            self.outbound += self._author_verdict(author_id, losses, is_settled)
            self._compare(losses, inbound, is_settled)
        self.inbound += self._observer_verdicts(inbound)

    def _losses_of(self, author_id: str, delivery: AuthorDeliveries) -> list[Loss]:
        """What the nodes on the author's side missed of it."""
        links, side = self._links, self._links.side(author_id)
        losses = delivery.losses(links.reported_at, self._names_neighbors, self._names_everyone)
        if links.is_whole:
            return losses
        return [one for one in losses if links.side(links.by_number[one.number].node_id) == side]

    def _author_verdict(self, author_id: str, losses: list[Loss], is_settled: bool) -> Iterator[Verdict]:
        """The verdict on an author; none on one that broadcasts nothing, since nothing of it can be lost."""
        least = self._least_loss(author_id, losses)
        if least is None:
            return
        if least.lost >= max(self._least, OUTBOUND_SHARE * least.sent):
            lost, sent = f"{least.lost:.0f}", f"{least.sent:.0f}"
            yield Verdict(author_id, f"{lost} of its {sent} last broadcasts reached none of {len(losses)} observers")
        elif is_settled and least.sent >= self._least and least.lost <= 0:
            yield Verdict(author_id)

    def _least_loss(self, author_id: str, losses: list[Loss]) -> Loss | None:
        """The loss of the observer that heard most; None while too few observers can tell."""
        others = self._side_sizes[self._links.side(author_id)] - 1
        if not losses or (len(losses) < 2 and others > 1):
            return None
        return min(losses, key=lambda one: one.lost)

    @staticmethod
    def _compare(losses: list[Loss], inbound: dict[int, _InboundLoss], is_settled: bool) -> None:
        """Compare each observer with the best other one, which with the author's count proves how much was heard."""
        if len(losses) < 2:
            return
        first, second, *_ = sorted(losses, key=lambda one: one.lost)
        for one in losses:
            best = second if one is first else first
            total = inbound.setdefault(one.number, _InboundLoss())
            proved = best.sent - max(0.0, best.lost)
            total.heard_by_others += proved
            total.settled += proved if is_settled else 0.0
            total.missed += min(max(0.0, one.lost - max(0.0, best.lost)), proved)
            total.authors += 1

    def _observer_verdicts(self, inbound: dict[int, _InboundLoss]) -> Iterator[Verdict]:
        for number, total in inbound.items():
            node_id = self._links.by_number[number].node_id
            if total.missed >= max(self._least, INBOUND_SHARE * total.heard_by_others):
                missed, all_of_it = f"{total.missed:.0f}", f"{total.heard_by_others:.0f}"
                evidence = f"did not hear {missed} of {all_of_it} messages of {total.authors} peers that others heard"
                yield Verdict(node_id, evidence)
            elif total.settled >= self._least and not total.missed:
                yield Verdict(node_id)
