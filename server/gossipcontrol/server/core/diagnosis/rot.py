"""One-way gossip (rot), by counts within one side: broadcasts nobody hears, and nodes that miss what others hear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from gossipcontrol.server.core.diagnosis.deliveries import IN_FLIGHT, AuthorDeliveries, Loss
from gossipcontrol.server.core.diagnosis.links import WORDS, Links
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
    is_sure: bool = True
    """Whether three identities say so, or all that could tell, if they are fewer."""


@dataclass(slots=True, eq=False)
class _InboundLoss:
    """What one observer missed of what others heard."""

    missed: float = 0.0
    heard_by_others: float = 0.0
    authors: int = 0
    settled: float = 0.0
    """The part of ``heard_by_others`` that is old enough to prove health."""
    words: set[str] = field(default_factory=set[str])
    """The identities that say what it missed: authors, and those that heard them."""


class _Author(NamedTuple):
    """What the observers on its side missed of an author."""

    author_id: str
    losses: list[Loss]
    is_settled: bool


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
        authors, asked, missed = list[_Author](), Counter[int](), Counter[int]()
        for count, (author_id, delivery) in enumerate(self._reports.deliveries.items()):
            if author_id not in self._links.fresh:
                continue
            if count % (AUTHORS_PER_PART // 4) == 0:
                yield
            losses = self._losses_of(author_id, delivery)
            authors.append(_Author(author_id, losses, delivery.marked_at <= self._settled_until))
            asked.update(one.number for one in losses)
            missed.update(one.number for one in losses if one.lost >= max(1.0, INBOUND_SHARE * one.sent))
        # Who misses most authors is itself the one that does not hear.
        deaf = {number for number, count in missed.items() if 2 * count > asked[number]}
        for count, one in enumerate(authors):
            if count % AUTHORS_PER_PART == 0:
                yield
            words = self._words(one, deaf)
            self.outbound += self._author_verdict(one, words)
            self._compare(one, words, inbound)
        self.inbound += self._observer_verdicts(inbound)

    def _words(self, author: _Author, deaf: Collection[int]) -> list[tuple[Loss, str]]:
        """What each identity heard of an author, with the identity; who heard most comes first.

        Without the author's own, for it would vouch for itself, and without observers that hear little of anybody.
        """
        fresh, by_number, best = self._links.fresh, self._links.by_number, dict[str, Loss]()
        own = fresh[author.author_id].identity
        for one in author.losses:
            identity = by_number[one.number].identity
            known = best.get(identity)
            if identity != own and one.number not in deaf and (known is None or one.lost < known.lost):
                best[identity] = one
        return sorted(((one, identity) for identity, one in best.items()), key=lambda word: word[0].lost)

    def _losses_of(self, author_id: str, delivery: AuthorDeliveries) -> list[Loss]:
        """What the nodes on the author's side missed of it."""
        links, side = self._links, self._links.side(author_id)
        losses = delivery.losses(links.reported_at, self._names_neighbors, self._names_everyone)
        if links.is_whole:
            return losses
        return [one for one in losses if links.side(links.by_number[one.number].node_id) == side]

    def _author_verdict(self, author: _Author, words: list[tuple[Loss, str]]) -> Iterator[Verdict]:
        """The verdict on an author; none on one that broadcasts nothing, since nothing of it can be lost."""
        least = self._least_loss(author, words)
        if least is None:
            return
        bound = max(self._least, OUTBOUND_SHARE * least.sent)
        if least.lost >= bound:
            lost, sent, count = f"{least.lost:.0f}", f"{least.sent:.0f}", len(author.losses)
            whom = "none" if min(one.lost for one in author.losses) >= bound else "at most one"
            is_sure = sum(one.lost >= bound for one, _ in words) >= min(WORDS, len(words))
            evidence = f"{lost} of its {sent} last broadcasts reached {whom} of {count} observers"
            yield Verdict(author.author_id, evidence, is_sure)
        elif author.is_settled and least.sent >= self._least and least.lost <= 0:
            yield Verdict(author.author_id)

    def _least_loss(self, author: _Author, words: list[tuple[Loss, str]]) -> Loss | None:
        """The loss of the observer that heard most, of three identities or more the second; None: too few can tell.

        One alone may be mistaken, or lie.
        """
        losses, others = author.losses, self._side_sizes[self._links.side(author.author_id)] - 1
        if not losses or (len(losses) < 2 and others > 1):
            return None
        if len(words) >= WORDS:
            return words[1][0]
        return words[0][0] if words else min(losses, key=lambda one: one.lost)

    def _compare(self, author: _Author, words: list[tuple[Loss, str]], inbound: dict[int, _InboundLoss]) -> None:
        """Compare each observer with another one, which with the author's count proves how much was heard.

        That is the second best of the other identities, if there are two. An author that claims to have sent what the
        median of three or more did not hear is itself what is wrong.
        """
        if len(author.losses) < 2:
            return
        median = words[len(words) // 2][0] if len(words) >= WORDS else None
        if median is not None and median.lost >= max(self._least, INBOUND_SHARE * median.sent):
            return
        own, by_number = self._links.fresh[author.author_id].identity, self._links.by_number
        first, second, *_ = sorted(author.losses, key=lambda one: one.lost)
        for one in author.losses:
            identity = by_number[one.number].identity
            others = [word for word in words[:WORDS] if word[1] != identity]
            best, whose = others[min(1, len(others) - 1)] if others else (second if one is first else first, own)
            total = inbound.setdefault(one.number, _InboundLoss())
            proved = best.sent - max(0.0, best.lost)
            total.heard_by_others += proved
            total.settled += proved if author.is_settled else 0.0
            missed = min(max(0.0, one.lost - max(0.0, best.lost)), proved)
            total.missed += missed
            total.authors += 1
            if missed > 0:
                total.words |= {own, whose}

    def _observer_verdicts(self, inbound: dict[int, _InboundLoss]) -> Iterator[Verdict]:
        fresh, links = self._links.fresh, self._links
        identities = Counter((links.side(one.node_id), one.identity) for one in fresh.values()) if inbound else ()
        could_tell = Counter(side for side, _ in identities)
        for number, total in inbound.items():
            node_id = self._links.by_number[number].node_id
            if total.missed >= max(self._least, INBOUND_SHARE * total.heard_by_others):
                missed, all_of_it = f"{total.missed:.0f}", f"{total.heard_by_others:.0f}"
                evidence = f"did not hear {missed} of {all_of_it} messages of {total.authors} peers that others heard"
                could = could_tell[self._links.side(node_id)] - 1
                yield Verdict(node_id, evidence, len(total.words) >= min(WORDS, could))
            elif total.settled >= self._least and not total.missed:
                yield Verdict(node_id)
