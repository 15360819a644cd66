"""A tracker as plain data, column by column: a million intentions are copied, not walked through."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from sys import byteorder
from typing import Any

from gossipcontrol.server.core.knowledge.chain import ROOT, Chain, Life
from gossipcontrol.server.core.knowledge.intention import Intention
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker

VERSION = f"1-{byteorder}"
"""Of this form; columns are in the machine's byte order."""

_NUMBERS = (
    "parent", "offset", "first", "named_from", "length", "order", "forgotten_acks",
)  # fmt: skip
_COLUMNS = (
    "dependency_chains", "dependency_counts", "acks", "check_at", "check_ends", "check_orders", "mark_at",
    "mark_times",
)  # fmt: skip


def check(version: str) -> None:
    """Raise ValueError when a snapshot is of another form."""
    if version != VERSION:
        raise ValueError(f"a snapshot of version {version} cannot be read, only {VERSION}")


def take(tracker: Tracker) -> dict[str, Any]:
    """A tracker as dictionaries, lists, strings, numbers and bytes."""
    graph = tracker.graph
    lives = [life for lives in graph.lives.values() for life in lives.values()]
    number_of = {id(life): number for number, life in enumerate(lives)}
    lanes = len(graph.chains)
    return {
        "lives": [(one.author_id, one.incarnation, _pack((one.vector,), lanes), one.proved_at) for one in lives],
        "chains": [{"life": number_of[id(chain.life)], **_take_chain(chain, lanes)} for chain in graph.chains],
        "names": _take_names([name for _, name in graph.names]),
        "name_places": array("Q", (place for place, _ in graph.names)).tobytes(),
        "forks": sorted(graph.forks),
        "order": graph.order,
        "floating": [tuple(one) for one in tracker.floating.intentions()],
        "dropped": tracker.floating.dropped,
        "added": dict(tracker.added),
        "removed": sorted(tracker.removed),
        "forget_at": tracker.forget_at,
    }


def restore(plain: dict[str, Any], parameters: KnowledgeParameters) -> Tracker:
    """The tracker that a snapshot was taken of."""
    tracker = Tracker(parameters)
    graph = tracker.graph
    lives: list[Life] = [_restore_life(*one) for one in plain["lives"]]
    for life in lives:
        graph.lives.setdefault(life.author_id, {})[life.incarnation] = life
    chains: list[dict[str, Any]] = plain["chains"]
    for number, one in enumerate(chains):
        graph.adopt(_restore_chain(number, lives[int(one["life"])], one, len(chains)))
    graph.order = plain["order"]
    graph.forks = {(author_id, incarnation, name) for author_id, incarnation, name in plain["forks"]}
    graph.recognise(zip(array("Q", plain["name_places"]), _restore_names(*plain["names"]), strict=True))
    tracker.added, tracker.removed = dict(plain["added"]), set(plain["removed"])
    tracker.forget_at = plain["forget_at"]
    for author_id, name, store_prev, dependencies, ack, incarnation in plain["floating"]:
        tracker.suspend(Intention(author_id, name, store_prev, tuple(dependencies), ack, incarnation))
    tracker.floating.dropped = plain["dropped"]
    return tracker


def _take_chain(chain: Chain, lanes: int) -> dict[str, Any]:
    return {
        **{name: getattr(chain, name) for name in _NUMBERS},
        **{name: getattr(chain, name).tobytes() for name in _COLUMNS},
        "fan_ins": bytes(chain.fan_ins),
        "tip": _pack((chain.tip,), lanes),
        "checks": _pack(chain.checks, lanes),
        "hashes": _take_names(chain.hashes),
    }


def _restore_chain(number: int, life: Life, plain: dict[str, Any], lanes: int) -> Chain:
    chain = Chain(number, life, ROOT, 0)
    for name in _NUMBERS:
        setattr(chain, name, plain[name])
    for name in _COLUMNS:
        column: array[int] = getattr(chain, name)
        column.frombytes(plain[name])
    chain.fan_ins = bytearray(plain["fan_ins"])
    chain.tip = int.from_bytes(plain["tip"], "little")
    chain.checks = _unpack(plain["checks"], lanes)
    chain.hashes = _restore_names(*plain["hashes"])
    return chain


def _restore_life(author_id: str, incarnation: str, vector: bytes, proved_at: float) -> Life:
    life = Life(author_id, incarnation)
    life.vector, life.proved_at = int.from_bytes(vector, "little"), proved_at
    return life


def _pack(vectors: Iterable[int], lanes: int) -> bytes:
    return b"".join([vector.to_bytes(lanes * 4, "little") for vector in vectors])


def _unpack(packed: bytes, lanes: int) -> list[int]:
    size = lanes * 4
    return [int.from_bytes(packed[start : start + size], "little") for start in range(0, len(packed), size)]


def _take_names(names: Sequence[bytes]) -> tuple[bytes, bytes]:
    """All hashes in a row, and the length of each in one byte."""
    return b"".join(names), bytes(map(len, names))


def _restore_names(row: bytes, lengths: bytes) -> list[bytes]:
    names: list[bytes] = []
    start = 0
    for length in lengths:
        names.append(row[start : start + length])
        start += length
    return names
