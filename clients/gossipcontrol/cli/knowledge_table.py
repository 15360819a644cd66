"""Knowledge for people: a matrix of peers and authors, and a sentence per peer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gossipcontrol.cli import table
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.document import plain, print_document
from gossipcontrol.cli.identifier import peer_names
from gossipcontrol.cli.message_client import MessageClient
from gossipcontrol.cli.output import say, say_wrapped
from gossipcontrol.client import call, decode_knowledge
from gossipcontrol.client.intention import ChainPosition, Frontier, PeerKnowledge, PeerLag
from gossipcontrol.v1 import peer_knowledge_pb2 as pb

COLUMNS = 12
"""Most authors in the matrix."""
NAMED = 3
"""Most authors named in a sentence, those first that the peer is furthest behind."""


async def show_knowledge(client: MessageClient, store_id: str, peer_id: str, holds: bytes, as_json: bool) -> None:
    """Ask for the knowledge of a store, and show it."""
    rows = [row async for row in client.messages(call.list_knowledge(store_id, peer_id, holds))]
    shown = {row.peer_id for row in rows}
    lags = [lag async for lag in client.messages(call.list_lags(store_id, peer_id)) if lag.peer_id in shown]
    frontier = await client.message(call.frontier(store_id))
    if as_json:
        print_document({
            "store_id": store_id,
            "peers": [plain(row) for row in rows],
            "lags": [plain(lag) for lag in lags],
            **plain(frontier),
        })  # fmt: skip
        return
    names = await peer_names(client, store_id)
    _show(
        [decode_knowledge.peer_knowledge(row) for row in rows],
        [decode_knowledge.peer_lag(lag) for lag in lags],
        decode_knowledge.frontier(frontier),
        names,
    )


def show_nothing(store_id: str, as_json: bool) -> None:
    """A store whose nodes record no intentions."""
    if as_json:
        print_document({"store_id": store_id, "peers": [], "lags": [], **plain(pb.GetStabilityFrontierResponse())})
    else:
        say_wrapped(f"no intention of store {store_id} was recorded yet: its agents have not called Agent.record_write")


def _show(rows: Sequence[PeerKnowledge], lags: Sequence[PeerLag], frontier: Frontier, names: Mapping[str, str]) -> None:
    _show_matrix(rows, frontier, names)
    say()
    for row, lag in zip(rows, lags, strict=True):
        say_wrapped(sentence(row, lag, names.get(row.peer_id, "")), 2)
    say()
    say_wrapped(
        f"{_count(frontier.unstable, 'intention')} not yet held by all, "
        f"{_count(frontier.at_risk, 'intention')} at risk: held by one peer at most"
    )


def sentence(row: PeerKnowledge, lag: PeerLag, name: str = "") -> str:
    """Such as ``raspi: 3 behind bob, last proof 2 h ago``."""
    authors = sorted(lag.authors, key=lambda each: -each.behind)
    parts = [f"{each.behind} behind {table.short(each.author_id)}" for each in authors[:NAMED]]
    if rest := authors[NAMED:]:
        parts.append(f"{sum(each.behind for each in rest)} behind {_count(len(rest), 'other')}")
    if not parts:
        parts.append("provably holds everything")
    proof = "no proof yet" if lag.proof_age is None else f"last proof {age(lag.proof_age)} ago"
    if row.lives > 1:
        parts.append(f"has lost its data ({_count(row.lives, 'life', 'lives')})")
    if row.forks:
        parts.append(f"has forked {_count(row.forks, 'time')}")
    return f"{table.called(row.peer_id, name)}: {', '.join(parts)}, {proof}{'' if row.active else ' (removed)'}"


def age(seconds: float) -> str:
    """An age in its largest unit."""
    whole = int(seconds)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def _show_matrix(rows: Sequence[PeerKnowledge], frontier: Frontier, names: Mapping[str, str]) -> None:
    authors = sorted({place.author_id for row in rows for place in row.positions})
    listed = authors[: _most_columns(table.terminal_width())]
    more = [f"and {len(authors) - len(listed)} more"] if len(authors) > len(listed) else []
    matrix = Columns("PEER", *map(table.short, listed), *more, ids=True)
    for row in rows:
        matrix.add_row(table.called(row.peer_id, names.get(row.peer_id, "")), *_cells(row.positions, listed))
    matrix.add_row("all active", *_cells(frontier.positions, listed))
    table.show(matrix, "no peers")


def _most_columns(width: int | None) -> int:
    """How many authors fit beside the peers and the count of the others."""
    return COLUMNS if width is None else max(1, min(COLUMNS, width // (table.SHORT - 2) - 2))


def _cells(positions: Sequence[ChainPosition], authors: Sequence[str]) -> list[str]:
    """How far along each author's chain; of a forked chain, how far along each branch."""
    reached: dict[str, list[str]] = {}
    for place in positions:
        reached.setdefault(place.author_id, []).append(str(place.position))
    return ["+".join(reached.get(author_id, ["-"])) for author_id in authors]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
