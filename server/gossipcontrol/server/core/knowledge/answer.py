"""Read-only answers about one store, computed from its peers' vectors. Those of ``*_slices`` pause between bits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import add
from typing import NamedTuple

from gossipcontrol.server.core.knowledge.chain import POSITION_MASK, Chain
from gossipcontrol.server.core.knowledge.record import PeerKnowledge, PeerLag, Position, Unshared
from gossipcontrol.server.core.knowledge.tracker import Tracker
from gossipcontrol.server.core.knowledge.vector import counts, join, meet
from gossipcontrol.server.core.knowledge.view import View
from gossipcontrol.server.core.slices import Slices, finish

LAG_GROUP = 100
"""Most peers whose lag is computed in one pass."""
LAG_COUNTS = 50_000
"""Counts that a pass takes apart at once; in a store of many chains it has fewer peers."""


def positions(tracker: Tracker, vector: int) -> tuple[Position, ...]:
    """The newest intentions of a vector, by author, incarnation and position: those without a successor in it."""
    return _positions(View(tracker, ()), vector)


def _positions(view: View, vector: int) -> tuple[Position, ...]:
    held = counts(vector, len(view.chains))
    continued = {parent for number, parent in view.branches_off if held[number]}
    found = [
        Position(chain.author_id, chain.offset + count, chain.hash_at(count), chain.label)
        for number, (chain, count) in enumerate(zip(view.chains, held, strict=True))
        if count and not (continued and number << 32 | count in continued)
    ]
    found.sort(key=_position_key)
    return tuple(found)


def _position_key(position: Position) -> tuple[str, str, int, bytes]:
    return position.author_id, position.incarnation, position.position, position.hash


def knowledge(tracker: Tracker, peer_id: str) -> PeerKnowledge:
    """What one peer provably holds."""
    return finish(knowledge_slices(tracker, [peer_id], 1))[0]


def knowledge_slices(tracker: Tracker, peer_ids: Sequence[str], most: int) -> Slices[list[PeerKnowledge]]:
    """What these peers provably hold, as of now; no more peers once they have ``most`` positions."""
    view = View(tracker, peer_ids)
    labels = [
        (tracker.incarnation_label(peer_id), tuple(tracker.graph.incarnations.get(peer_id, ()))) for peer_id in peer_ids
    ]
    forks: dict[str, int] = {}
    for author_id, _, _ in tracker.graph.forks:
        forks[author_id] = forks.get(author_id, 0) + 1
    rows: list[PeerKnowledge] = []
    for (peer_id, peer), (label, incarnations) in zip(view.peers.items(), labels, strict=True):
        yield
        rows.append(
            PeerKnowledge(
                peer_id=peer_id,
                positions=_positions(view, peer.vector),
                held=sum(counts(peer.vector, len(view.chains))),
                proved_at=peer.proved_at,
                incarnation=label,
                incarnations=len({*incarnations, label}),
                active=peer.is_active,
                forks=forks.get(peer_id, 0),
            )
        )
        most -= len(rows[-1].positions)
        if most <= 0:
            break
    return rows


def holders(tracker: Tracker, name: bytes) -> list[str] | None:
    """The peers that provably hold an intention, ordered by id; None when it is unknown or forgotten."""
    return finish(holders_slices(tracker, name))


def holders_slices(tracker: Tracker, name: bytes) -> Slices[list[str] | None]:
    """The same in slices, as of now."""
    position = tracker.graph.positions.get(name)
    if position is None:
        return None
    shift = tracker.graph.chains[position >> 32].shift
    vectors = [(peer_id, tracker.vector(peer_id)) for peer_id in tracker.peers()]
    found: list[str] = []
    for peer_id, vector in vectors:
        yield
        if (vector >> shift & POSITION_MASK) >= (position & POSITION_MASK):
            found.append(peer_id)
    return found


def lags(tracker: Tracker, peer_ids: Iterable[str]) -> Iterator[PeerLag]:
    """How far behind each of these peers may be."""
    asked = iter(peer_ids)
    while group := tuple(islice(asked, LAG_GROUP)):
        yield from finish(lag_slices(View(tracker, group), group))


def lag_group(view: View) -> int:
    """How many peers to compute the lag of in one pass."""
    return min(LAG_GROUP, 1 + LAG_COUNTS // (1 + len(view.chains)))


def lag_slices(view: View, peer_ids: Sequence[str]) -> Slices[list[PeerLag]]:
    """How far behind each of these peers may be; a few at a time cost less than one by one."""
    peers = [view.peers[peer_id] for peer_id in peer_ids]
    rows = yield from _lacking(view, [peer.vector for peer in peers])
    return [
        PeerLag(peer_id, sum(behind.values()), tuple(behind.items()), peer.proved_at, peer.is_active)
        for peer_id, peer, behind in zip(peer_ids, peers, rows, strict=True)
    ]


def behind_by_author(tracker: Tracker, vector: int) -> dict[str, int]:
    """Author -> how many of its content intentions a vector lacks; only authors with some, ordered by id."""
    return finish(_lacking(View(tracker, ()), [vector]))[0]


def _lacking(view: View, vectors: Sequence[int]) -> Slices[list[dict[str, int]]]:
    """What each vector lacks, by author.

    Computed chain by chain: peers that hear the same intentions have the same counts, so a column has few values.
    """
    columns = zip(*(counts(vector, len(view.chains)) for vector in vectors), strict=True)
    lacking: dict[str, list[int]] = {}
    for chain, held in zip(view.chains, columns, strict=True):
        yield
        contents = chain.contents(chain.length)
        lacks = {count: contents - chain.contents(count) for count in set(held)}
        column = [lacks[count] for count in held]
        others = lacking.get(chain.author_id)
        lacking[chain.author_id] = list(map(add, others, column)) if others else column
    if not view.chains:
        return [{} for _ in vectors]
    authors = sorted(lacking)
    rows: list[dict[str, int]] = []
    for row in zip(*(lacking[author_id] for author_id in authors), strict=True):
        yield
        rows.append(dict(compress(zip(authors, row, strict=True), row)))
    return rows


class Shared(NamedTuple):
    """What active peers provably hold: all of them; the most any holds of each chain, and the second most."""

    stable: int
    most: int
    second: int


def shared_slices(view: View) -> Slices[Shared]:
    """What all, one and two active peers provably hold."""
    guard = view.guard
    stable, most, second = -1, 0, 0
    for vector, _, is_active in view.peers.values():
        yield
        if is_active:
            stable = vector if stable < 0 else meet(stable, vector, guard)
            second = join(second, meet(most, vector, guard), guard)
            most = join(most, vector, guard)
    return Shared(max(stable, 0), most, second)


def at_risk(tracker: Tracker) -> int:
    """Number of content intentions that at most one active peer provably holds."""
    view = View(tracker)
    return _lacked(view, finish(shared_slices(view)).second)


def _lacked(view: View, vector: int) -> int:
    """How many content intentions a vector lacks."""
    held = counts(vector, len(view.chains))
    return sum(
        chain.contents(chain.length) - chain.contents(count) for chain, count in zip(view.chains, held, strict=True)
    )


class Stability(NamedTuple):
    """The stability frontier, and what lies above it."""

    frontier: tuple[Position, ...]
    unstable: int
    """Content intentions above it."""
    at_risk: int
    """Content intentions that at most one active peer provably holds."""


def stability_slices(tracker: Tracker) -> Slices[Stability]:
    """The stability frontier as of now."""
    view = View(tracker)
    stable, _, second = yield from shared_slices(view)
    frontier = _positions(view, stable)
    yield
    return Stability(frontier, _lacked(view, stable), _lacked(view, second))


def unshared(tracker: Tracker, store_id: str, since: float) -> Iterator[Unshared]:
    """Writes of an active peer's newest incarnation, recorded by ``since``, that no other active peer provably holds.

    Empty while no other active peer exists to hold them.
    """
    yield from finish(unshared_slices(tracker, store_id, since))


def unshared_slices(tracker: Tracker, store_id: str, since: float) -> Slices[list[Unshared]]:
    """The same in slices. What is forgotten meanwhile was shared."""
    view = View(tracker)
    found: list[Unshared] = []
    if sum(peer.is_active for peer in view.peers.values()) < 2:
        return found
    second = counts((yield from shared_slices(view)).second, len(view.chains))
    for author_id, peer in view.peers.items():
        yield
        if peer.is_active and (one := _unshared(tracker, store_id, author_id, second, since)):
            found.append(one)
    return found


def _unshared(tracker: Tracker, store_id: str, author_id: str, second: array[int], since: float) -> Unshared | None:
    incarnation = tracker.newest_incarnation(author_id)
    chains = [chain for chain in incarnation.chains if chain.number < len(second)] if incarnation else []
    found = [one for one in (_old_writes(chain, second[chain.number], since) for chain in chains) if one[0]]
    if not found:
        return None
    _, oldest_at, oldest = min(found, key=lambda one: one[1])
    return Unshared(store_id, author_id, sum(one[0] for one in found), oldest_at, oldest)


def _old_writes(chain: Chain, held: int, since: float) -> tuple[int, float, bytes]:
    """(content intentions above ``held`` that were recorded by ``since``, when the oldest was recorded, its hash)."""
    oldest = chain.next_content(held)
    if oldest is None or chain.recorded_at(oldest) > since:
        return 0, 0.0, b""
    newest = chain.recorded_until(since)
    writes = chain.contents(newest) - chain.contents(oldest - 1)
    return writes, chain.recorded_at(oldest), chain.hash_at(oldest)
