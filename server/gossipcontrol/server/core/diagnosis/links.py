"""The fresh links of one store's reporting nodes, and the sides (connected components) they form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable

from gossipcontrol.server.core.diagnosis.reports import AUTHORS_PER_PART, OBSERVERS_PER_PART, Observer, StoreReports
from gossipcontrol.server.core.event import NEVER
from gossipcontrol.server.core.presence.parameter import LivenessParameters
from gossipcontrol.server.core.presence.record import AWAY, PeerState

StateOf = Callable[[str], PeerState | None]
"""Looks up the presence of a peer."""

WORDS = 3
"""Identities whose word more than a plain rejoin takes, where so many could tell."""
LINKS_PER_PART = 256
"""Links looked at in one part of the work: about 0.1 ms."""
LINKS_PER_STEP = 16
"""Links that are compared as sets in the time of one that is looked at by itself."""


class Links:
    """Who is linked with whom, by fresh reports; ``build`` finds out.

    Neighbours are compared as sets, and no further once all are linked: where many list many others, one of them
    suffices.
    """

    def __init__(self, reports: StoreReports, parameters: LivenessParameters, state: StateOf, now: float) -> None:
        self.fresh: dict[str, Observer] = {}
        self.reported_at: dict[int, float] = {}
        self.by_number: dict[int, Observer] = {}
        self.missing: set[tuple[str, str]] = set()
        """(observer, author): the author broadcasts, and the observer does not hear it."""
        self.mute: set[str] = set()
        """Authors whose broadcasts reach none of the observers that could tell, or one of three or more."""
        self.doubted: set[str] = set()
        """Those of which fewer than three identities say so, though more could tell."""
        self.outvoted: set[str] = set()
        """Mute authors that two of three or more identities on their own side miss, and one at most hears there."""
        self.linked: set[str] = set()
        """Fresh nodes with any fresh link."""
        self.steps = 0
        """Links looked at one by one."""
        self.is_whole = False
        """Whether all reporting nodes are linked, directly or through others."""
        self._missed_by: dict[str, list[int]] = {}
        """Mute author -> the observers that miss it, without those that miss most authors."""
        self._missed: dict[str, set[str]] = {}
        """Node -> the nodes with which a link is missing, in either direction."""
        self._side_of: dict[str, str] = {}
        self._members: dict[str, set[str]] = {}
        """Side -> its nodes; without sides of one node."""
        self._joined = 0
        """Fresh nodes that joined the side of another one."""
        self._open: set[str] = set()
        """Nodes that may have links we cannot see: to neighbours that do not report, or that they do not list.

        Complete only if not all nodes are linked.
        """
        self._reports = reports
        self._parameters = parameters
        self._state = state
        self._now = now

    def build(self) -> Generator[None]:
        """Find all links, with a pause after each small part of the work; the reports must not change meanwhile."""
        for count, (node_id, observer) in enumerate(self._reports.observers.items()):
            if not count % OBSERVERS_PER_PART:
                yield
            if observer.is_fresh(self._now):
                self.fresh[node_id] = observer
                self.reported_at[observer.number] = observer.reported_at
                self.by_number[observer.number] = observer
        yield from self._find_missing()
        for join in (self._join_listed, self._join_unreporting, self._join_heard):
            yield from join()
            if self._check_whole():
                break
        yield from self._find_outvoted()

    def side(self, node_id: str) -> str:
        """The name of a node's side."""
        return self._side_of.get(node_id, node_id)

    def sides(self) -> list[list[str]]:
        """The reporting nodes by side, that of most identities first, then the largest."""
        found: dict[str, list[str]] = {}
        for node_id in self.fresh:
            found.setdefault(self.side(node_id), []).append(node_id)
        fresh = self.fresh
        return sorted(
            found.values(),
            key=lambda side: (-len({fresh[node_id].identity for node_id in side}), -len(side), min(side)),
        )

    def was_linked(self, side: list[str]) -> bool:
        """Whether others once heard a node of this side, or listed it as a neighbour: two identities, if so many are.

        That a side says so of others proves nothing: who never took part may say anything.
        """
        fresh, own = self.fresh, {self.fresh[node_id].identity for node_id in side}
        others, knowing = {one.identity for one in fresh.values()} - own, set[str]()
        needed = 2 if len(others) >= WORDS else 1
        for node_id in side:
            knowing.update(one for one in fresh[node_id].known_by if one not in own)
            for number, heard_at in self._reports.deliveries[node_id].last_heard(self.reported_at):
                if heard_at > NEVER and self.by_number[number].identity not in own:
                    knowing.add(self.by_number[number].identity)
            if len(knowing) >= needed:
                return True
        # Nodes of one identity cannot be told apart, so nobody is protected from anybody.
        return not others

    def is_closed(self, side: list[str]) -> bool:
        """Whether no unseen link can connect this side: none of its neighbours is a peer that does not report."""
        return not any(node_id in self._open for node_id in side)

    def witnesses(self) -> dict[str, set[str]]:
        """Side -> the nodes that testify to a link missing between it and the outside."""
        found: dict[str, set[str]] = {}
        for one, other in self.missing:
            first, second = self.side(one), self.side(other)
            if first != second:
                found.setdefault(first, set()).add(one)
                found.setdefault(second, set()).add(one)
        return found

    def _find_missing(self) -> Generator[None]:
        reports, least, before = (
            self._reports,
            self._parameters.rot_messages,
            self._now - self._parameters.suspect_floor,
        )
        deliveries, by_number = reports.deliveries, self.by_number
        unheard = list[tuple[str, list[int]]]()
        missed, active = Counter[int](), 0
        for count, (author_id, author) in enumerate(self.fresh.items()):
            if not count % AUTHORS_PER_PART:
                yield
            delivery = deliveries[author_id]
            if delivery.broadcast_at + reports.period(author) <= self._now:
                continue  # a loss proves nothing once the author falls silent
            asked, missing = delivery.missing(self.reported_at, least, before)
            active += 1
            for number in missing:
                self._add_missing(by_number[number].node_id, author_id)
            missed.update(missing)
            if missing and asked == len(missing) and (asked > 1 or len(self.fresh) == 2):
                self.mute.add(author_id)
                self._note_doubt(author_id, missing, missing)
            if missing:
                unheard.append((author_id, missing))
        for count, (author_id, missing) in enumerate(unheard):
            if not count % AUTHORS_PER_PART:
                yield
            # Who misses most authors is deaf: that it does not hear this one says nothing of it.
            sure = [number for number in missing if 2 * missed[number] < active]
            if author_id not in self.mute:
                self._judge_heard_in_part(author_id, deliveries[author_id].asked(self.reported_at), missing, sure)
            if author_id in self.mute:
                self._missed_by[author_id] = sure

    def _judge_heard_in_part(self, author_id: str, asked: list[int], missing: list[int], sure: list[int]) -> None:
        """An author is mute although one identity claims to hear it, if two miss it: one may be mistaken, or lie."""
        own = self.fresh[author_id].identity
        hearing = self._identities(set(asked).difference(missing)) - {own}
        missed_by = self._identities(sure) - hearing - {own}
        if len(hearing) <= 1 and len(missed_by) > 1:
            self.mute.add(author_id)
            self._note_doubt(author_id, asked, sure)

    def _note_doubt(self, author_id: str, asked: Iterable[int], missing: Iterable[int]) -> None:
        own = {self.fresh[author_id].identity}
        if len(self._identities(missing) - own) < min(WORDS, len(self._identities(asked) - own)):
            self.doubted.add(author_id)

    def _find_outvoted(self) -> Generator[None]:
        """Find the mute authors of which one identity that claims to hear them may be wrong, within their own side."""
        by_number, deliveries = self.by_number, self._reports.deliveries
        for count, (author_id, missed_by) in enumerate(self._missed_by.items()):
            if not count % AUTHORS_PER_PART:
                yield
            side, own = self.side(author_id), {self.fresh[author_id].identity}
            asked = [
                number
                for number in deliveries[author_id].asked(self.reported_at)
                if self.side(by_number[number].node_id) == side
            ]
            could_tell = self._identities(asked) - own
            missing = self._identities(number for number in missed_by if number in asked) - own
            if len(could_tell) >= WORDS and len(missing) > 1:
                self.outvoted.add(author_id)

    def _identities(self, numbers: Iterable[int]) -> set[str]:
        return {self.by_number[number].identity for number in numbers}

    def _add_missing(self, node_id: str, author_id: str) -> None:
        self.missing.add((node_id, author_id))
        self._missed.setdefault(node_id, set()).add(author_id)
        self._missed.setdefault(author_id, set()).add(node_id)

    def _check_whole(self) -> bool:
        """Update and return ``is_whole``."""
        self.is_whole = len(self.fresh) - self._joined < 2 and len(self.linked) == len(self.fresh)
        return self.is_whole

    def _join_listed(self) -> Generator[None]:
        """Link nodes with the neighbours they list that report too, until all are linked."""
        fresh, compared = self.fresh, 0
        for node_id, observer in fresh.items():
            if self._check_whole():
                return
            peers = observer.neighbors.keys() & fresh.keys()
            peers -= self._missed.get(node_id, set())
            if peers:
                self.linked |= peers
                self.linked.add(node_id)
                for peer_id in peers - self._members.get(self.side(node_id), {node_id}):
                    self._join(node_id, peer_id)
            compared += len(observer.neighbors) + LINKS_PER_STEP
            if compared > LINKS_PER_PART * LINKS_PER_STEP:
                compared = 0
                yield

    def _join_unreporting(self) -> Generator[None]:
        """Link nodes with the neighbours they list that do not report, if those are present, until all are linked.

        A peer that never reported is OFFLINE by its silence alone: that proves no link, but there may be one.
        """
        reporters, looked = (self._reports.observers, self._reports.former), 0
        for node_id, observer in self.fresh.items():
            if self._check_whole():
                return
            if not observer.lists_neighbors:
                self._open.add(node_id)
            peers = observer.neighbors.keys() - self.fresh.keys()
            for peer_id in peers:
                self.steps += 1
                if peer_id in self._side_of or (seen := self._state(peer_id)) not in AWAY:
                    self._join_any(node_id, peer_id)
                elif seen is PeerState.OFFLINE and not any(peer_id in known for known in reporters):
                    self._open.add(node_id)
            looked += len(peers) + 1
            if looked > LINKS_PER_PART:
                looked = 0
                yield

    def _join_heard(self) -> Generator[None]:
        """Link observers with authors they heard recently; used where neighbour lists alone do not connect all.

        A mute node without neighbours is excluded: what reaches it comes over links that only the other end lists.
        """
        horizon = self._now - self._parameters.suspect_ceiling
        for count, (author_id, delivery) in enumerate(self._reports.deliveries.items()):
            if not count % AUTHORS_PER_PART:
                yield
            since = max(horizon, _alone_since(self.fresh.get(author_id)))
            for number, heard_at in delivery.last_heard(self.reported_at):
                observer = self.by_number[number]
                node_id, alone_since = observer.node_id, _alone_since(observer)
                if alone_since > NEVER and node_id in self.mute:
                    continue
                if heard_at > max(since, alone_since) and (node_id, author_id) not in self.missing:
                    self._join_any(node_id, author_id)

    def _join_any(self, node_id: str, peer_id: str) -> None:
        """Add a fresh link of a reporting node with any peer."""
        self.linked.add(node_id)
        if peer_id in self.fresh:
            self.linked.add(peer_id)
            self._join(node_id, peer_id)
            return
        self._open.add(node_id)
        if peer_id in self._side_of:
            self._join(node_id, peer_id)
        else:
            side = self._side_of[peer_id] = self.side(node_id)
            self._members.setdefault(side, {side}).add(peer_id)

    def _join(self, one: str, other: str) -> None:
        """Make one side of the sides of two nodes: the smaller one joins the larger."""
        self.steps += 1
        first, second = self.side(one), self.side(other)
        if first == second:
            return
        members = self._members
        if len(members.get(first, ())) < len(members.get(second, ())):
            first, second = second, first
        moved = members.pop(second, {second})
        members.setdefault(first, {first}).update(moved)
        self._side_of.update(dict.fromkeys(moved, first))
        self._side_of[first] = first
        self._joined += 1


def _alone_since(observer: Observer | None) -> float:
    """Since when a node has no neighbours: messages heard before that prove no link now."""
    return NEVER if observer is None or observer.alone_since is None else observer.alone_since
