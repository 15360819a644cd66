"""Read-only answers about one store, computed from its peers' vectors."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, islice
from operator import add

from gossipcontrol.server.core.knowledge.chain import POSITION_MASK, Chain
from gossipcontrol.server.core.knowledge.record import PeerKnowledge, PeerLag, Position, Unshared
from gossipcontrol.server.core.knowledge.tracker import Tracker
from gossipcontrol.server.core.knowledge.vector import counts, join, meet

LAG_GROUP = 100
"""Peers whose lag is computed in one pass."""


def positions(tracker: Tracker, vector: int) -> tuple[Position, ...]:
    """The newest intentions of a vector, by author, incarnation and position: those without a successor in it."""
    chains = tracker.graph.chains
    held = counts(vector, len(chains))
    continued = {chain.parent for chain in tracker.graph.branches_off if held[chain.number]}
    found = [
        Position(chain.incarnation.author_id, chain.offset + count, chain.hash_at(count), chain.incarnation.label)
        for chain, count in zip(chains, held, strict=True)
        if count and not (continued and chain.number << 32 | count in continued)
    ]
    found.sort(key=_position_key)
    return tuple(found)


def _position_key(position: Position) -> tuple[str, str, int, bytes]:
    return position.author_id, position.incarnation, position.position, position.hash


def knowledge(tracker: Tracker, peer_id: str) -> PeerKnowledge:
    """What one peer provably holds."""
    incarnation, vector = tracker.newest_incarnation(peer_id), tracker.vector(peer_id)
    return PeerKnowledge(
        peer_id=peer_id,
        positions=positions(tracker, vector),
        held=sum(counts(vector, len(tracker.graph.chains))),
        proved_at=incarnation.proved_at if incarnation else None,
        incarnation=tracker.incarnation_label(peer_id),
        incarnations=len({*tracker.graph.incarnations.get(peer_id, ()), tracker.incarnation_label(peer_id)}),
        active=tracker.active(peer_id),
        forks=sum(author_id == peer_id for author_id, _, _ in tracker.graph.forks),
    )


def holders(tracker: Tracker, name: bytes) -> list[str] | None:
    """The peers that provably hold an intention, ordered by id; None when it is unknown or forgotten."""
    position = tracker.graph.positions.get(name)
    if position is None:
        return None
    shift = tracker.graph.chains[position >> 32].shift
    return [
        peer_id
        for peer_id in tracker.peers()
        if (tracker.vector(peer_id) >> shift & POSITION_MASK) >= (position & POSITION_MASK)
    ]


def lags(tracker: Tracker, peer_ids: Iterable[str]) -> Iterator[PeerLag]:
    """How far behind each of these peers may be."""
    asked = iter(peer_ids)
    while group := tuple(islice(asked, LAG_GROUP)):
        incarnations = [tracker.newest_incarnation(peer_id) for peer_id in group]
        rows = _lacking(tracker, [incarnation.vector if incarnation else 0 for incarnation in incarnations])
        for peer_id, incarnation, behind in zip(group, incarnations, rows, strict=True):
            yield PeerLag(
                peer_id=peer_id,
                behind=sum(behind.values()),
                authors=tuple(behind.items()),
                proved_at=incarnation.proved_at if incarnation else None,
                active=tracker.active(peer_id),
            )


def behind_by_author(tracker: Tracker, vector: int) -> dict[str, int]:
    """Author -> how many of its content intentions a vector lacks; only authors with some, ordered by id."""
    return next(_lacking(tracker, [vector]))


def _lacking(tracker: Tracker, vectors: Sequence[int]) -> Iterator[dict[str, int]]:
    """What each vector lacks, by author.

    Computed chain by chain: peers that hear the same intentions have the same counts, so a column has few values.
    """
    chains = tracker.graph.chains
    columns = zip(*(counts(vector, len(chains)) for vector in vectors), strict=True)
    lacking: dict[str, list[int]] = {}
    for chain, held in zip(chains, columns, strict=True):
        contents, author_id = chain.contents(chain.length), chain.incarnation.author_id
        lacks = {count: contents - chain.contents(count) for count in set(held)}
        column = [lacks[count] for count in held]
        others = lacking.get(author_id)
        lacking[author_id] = list(map(add, others, column)) if others else column
    if not chains:
        yield from ({} for _ in vectors)
    authors = sorted(lacking)
    for row in zip(*(lacking[author_id] for author_id in authors), strict=True):
        yield dict(compress(zip(authors, row, strict=True), row))


def shared(tracker: Tracker) -> tuple[array[int], array[int]]:
    """Per chain, the highest count that any active peer provably holds, and the second highest."""
    guard = tracker.graph.guard
    most = second = 0
    for peer_id in tracker.peers():
        if tracker.active(peer_id):
            vector = tracker.vector(peer_id)
            second = join(second, meet(most, vector, guard), guard)
            most = join(most, vector, guard)
    lanes = len(tracker.graph.chains)
    return counts(most, lanes), counts(second, lanes)


def at_risk(tracker: Tracker) -> int:
    """Number of content intentions that at most one active peer provably holds."""
    _, second = shared(tracker)
    return sum(
        chain.contents(chain.length) - chain.contents(count)
        for chain, count in zip(tracker.graph.chains, second, strict=True)
    )


def unshared(tracker: Tracker, store_id: str, since: float) -> Iterator[Unshared]:
    """Writes of an active peer's newest incarnation, recorded by ``since``, that no other active peer provably holds.

    Empty while no other active peer exists to hold them.
    """
    active = [peer_id for peer_id in tracker.peers() if tracker.active(peer_id)]
    if len(active) < 2:
        return
    _, second = shared(tracker)
    for author_id in active:
        incarnation = tracker.newest_incarnation(author_id)
        found = [_old_writes(chain, second[chain.number], since) for chain in incarnation.chains] if incarnation else []
        writes = sum(one[0] for one in found)
        if writes:
            _, oldest_at, oldest = min((one for one in found if one[0]), key=lambda one: one[1])
            yield Unshared(store_id, author_id, writes, oldest_at, oldest)


def _old_writes(chain: Chain, held: int, since: float) -> tuple[int, float, bytes]:
    """(content intentions above ``held`` that were recorded by ``since``, when the oldest was recorded, its hash)."""
    oldest = chain.next_content(held)
    if oldest is None or chain.recorded_at(oldest) > since:
        return 0, 0.0, b""
    newest = chain.recorded_until(since)
    writes = chain.contents(newest) - chain.contents(oldest - 1)
    return writes, chain.recorded_at(oldest), chain.hash_at(oldest)
