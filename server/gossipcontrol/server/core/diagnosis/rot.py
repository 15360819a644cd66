"""Broadcasts that nobody hears, and nodes that do not hear what others do: by counts, within one side of a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gossipcontrol.server.core.diagnosis.deliveries import IN_FLIGHT, AuthorDeliveries, Loss
from gossipcontrol.server.core.diagnosis.links import Links
from gossipcontrol.server.core.diagnosis.reports import StoreReports
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters

OUTBOUND_SHARE = 0.1
"""Least share of a node's broadcasts that nobody heard, to call it rot."""
INBOUND_SHARE = 0.25
"""Least share of what others heard that a node did not, to call it rot."""
HOLD_SHARE = 1 / 6
"""How long rot must stand, in parts of the window: shorter cuts deliver late what they held up."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What counts prove of a node: rot, with evidence, or health."""

    node_id: str
    evidence: str = ""
    """Empty: it is healthy."""


@dataclass(slots=True, eq=False)
class _Ear:
    """What one observer did not hear of what others heard."""

    missed: float = 0.0
    heard_by_others: float = 0.0
    authors: int = 0
    settled: float = 0.0
    """How much of what others heard was long enough ago to prove health."""


def begin_anew_across(testimony: StoreReports, links: Links) -> None:
    """What the sides of a store miss of each other is no rot, neither now nor when they are one again."""
    if links.is_whole:
        return
    mates: dict[str, set[int]] = {}
    for node_id, observer in links.fresh.items():
        mates.setdefault(links.side(node_id), set()).add(observer.number)
    for author_id, voice in testimony.voices.items():
        voice.begin_anew_without(mates.get(links.side(author_id), ()))


def _listening(testimony: StoreReports, links: Links) -> tuple[set[int], set[int]]:
    """The observers that would name a neighbour if they heard it; and those that would name any author.

    Both name whomever they hear, and have heard somebody: the latter somebody who is no neighbour.
    """
    complete = {one.number: one for one in links.fresh.values() if one.is_complete}
    near, far = set[int](), set[int]()
    for voice in testimony.voices.values():
        for number, heard_at in voice.heard(complete):
            if heard_at > NEVER:
                near.add(number)
            observer = complete[number]
            if observer.lists and heard_at > observer.lost_at + IN_FLIGHT and not voice.is_near(number):
                far.add(number)
    return near, far


class Rot:
    """One look at the counts of a store. Nodes of which nothing is proved are in neither list."""

    def __init__(self, testimony: StoreReports, links: Links, parameters: LivenessParameters, now: float) -> None:
        self._links = links
        self._settled_at = now - parameters.rot_window / 2
        """Marks must be that old to prove health: what is sent more seldom may be just what is lost."""
        self._least = parameters.rot_messages
        self._mates: dict[str, int] = {}
        """How many nodes report, on each side."""
        for node_id in links.fresh:
            side = links.side(node_id)
            self._mates[side] = self._mates.get(side, 0) + 1
        self._near, self._far = _listening(testimony, links)
        ears: dict[int, _Ear] = {}
        self.outbound: list[Verdict] = []
        for author_id, voice in testimony.voices.items():
            if author_id not in links.fresh:
                continue
            losses, is_settled = self._of(author_id, voice), voice.marked_at <= self._settled_at
            self.outbound += self._judge_author(author_id, losses, is_settled)
            self._compare(losses, ears, is_settled)
        self.inbound: list[Verdict] = list(self._judge_ears(ears))

    def _of(self, author_id: str, voice: AuthorDeliveries) -> list[Loss]:
        """What the nodes on the author's side did not hear of it."""
        links, side = self._links, self._links.side(author_id)
        losses = voice.losses(links.reported, self._near, self._far)
        if links.is_whole:
            return losses
        return [one for one in losses if links.side(links.by_number[one.number].node_id) == side]

    def _judge_author(self, author_id: str, losses: list[Loss], is_settled: bool) -> Iterator[Verdict]:
        """A node that says nothing is never judged: nothing of it can be lost."""
        least = self._best(author_id, losses)
        if least is None:
            return
        if least.lost >= max(self._least, OUTBOUND_SHARE * least.sent):
            lost, sent = f"{least.lost:.0f}", f"{least.sent:.0f}"
            yield Verdict(author_id, f"{lost} of its {sent} last broadcasts reached none of {len(losses)} observers")
        elif is_settled and least.sent >= self._least and least.lost <= 0:
            yield Verdict(author_id)

    def _best(self, author_id: str, losses: list[Loss]) -> Loss | None:
        """The loss of the observer that heard most; None while too few can say."""
        others = self._mates[self._links.side(author_id)] - 1
        if not losses or (len(losses) < 2 and others > 1):
            return None
        return min(losses, key=lambda one: one.lost)

    @staticmethod
    def _compare(losses: list[Loss], ears: dict[int, _Ear], is_settled: bool) -> None:
        """Set each observer against the best of the others, which with the author's count proves what was heard."""
        if len(losses) < 2:
            return
        first, second, *_ = sorted(losses, key=lambda one: one.lost)
        for one in losses:
            best = second if one is first else first
            ear = ears.setdefault(one.number, _Ear())
            proved = best.sent - max(0.0, best.lost)
            ear.heard_by_others += proved
            ear.settled += proved if is_settled else 0.0
            ear.missed += min(max(0.0, one.lost - max(0.0, best.lost)), proved)
            ear.authors += 1

    def _judge_ears(self, ears: dict[int, _Ear]) -> Iterator[Verdict]:
        for number, ear in ears.items():
            node_id = self._links.by_number[number].node_id
            if ear.missed >= max(self._least, INBOUND_SHARE * ear.heard_by_others):
                missed, all_of_it = f"{ear.missed:.0f}", f"{ear.heard_by_others:.0f}"
                told = f"did not hear {missed} of {all_of_it} messages of {ear.authors} peers that others heard"
                yield Verdict(node_id, told)
            elif ear.settled >= self._least and not ear.missed:
                yield Verdict(node_id)
