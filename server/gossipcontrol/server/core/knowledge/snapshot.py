"""A tracker as bytes, column by column: taken at one instant, written out while the tracker goes on."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from gossipcontrol.server.core.knowledge.chain import ROOT, Chain, Incarnation
from gossipcontrol.server.core.knowledge.codec import pack_intentions, unpack_intentions
from gossipcontrol.server.core.knowledge.column import (
    numbers,
    pack,
    pack_alike,
    pack_names,
    pack_vectors,
    unpack,
    unpack_alike,
    unpack_names,
    unpack_vectors,
)
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tracker

PART = 1 << 19
"""Bytes of a part, about."""
LIVES = 64
"""Lives in one frame: their vectors are long in a store of many chains."""
_NUMBERS = ("parent", "offset", "first", "named_from", "length", "order", "forgotten_acks")
_COLUMNS = (
    "dependency_chains", "dependency_counts", "acks", "check_at", "check_ends", "check_orders", "mark_at",
    "mark_times",
)  # fmt: skip
_KINDS = {name: getattr(Chain(0, Incarnation("", ""), ROOT, 0), name).typecode for name in _COLUMNS}


class Capture:
    """A tracker at one instant; taken in milliseconds, whatever it holds, and read in any thread.

    A chain's columns only ever grow at their ends, and forgetting makes new ones: a reference and a length are a copy.
    """

    def __init__(self, tracker: Tracker) -> None:
        graph = tracker.graph
        self._lives = [(life, life.vector, life.proved_at) for lives in graph.lives.values() for life in lives.values()]
        self._chains = [_capture(chain) for chain in graph.chains]
        self._names = list(graph.names)
        self._cached = graph.cached()
        self._forks = list(graph.forks)
        self._floating = [(one, tuple(missing)) for one, missing in tracker.floating.waiting.values()]
        self._header: dict[str, Any] = {
            "chains": len(graph.chains),
            "cached": len(self._cached),
            "order": graph.order,
            "dropped": tracker.floating.dropped,
            "added": dict(tracker.added),
            "removed": sorted(tracker.removed),
            "forget_at": tracker.forget_at,
        }

    def parts(self) -> Iterator[bytes]:
        """All of it, in parts of about ``PART`` bytes, each made when it is asked for."""
        waiting = bytearray()
        for frame in self._frames():
            waiting += frame
            while len(waiting) >= PART:
                yield bytes(waiting[:PART])
                del waiting[:PART]
        if waiting:
            yield bytes(waiting)

    def _frames(self) -> Iterator[bytes]:
        lanes = len(self._chains)
        yield pack({**self._header, "lives": len(self._lives)}, ())
        for start in range(0, len(self._lives), LIVES):
            yield _lives_frame(self._lives[start : start + LIVES], lanes)
        number_of = {id(life): number for number, (life, _, _) in enumerate(self._lives)}
        for chain, taken, columns in self._chains:
            yield _chain_frame(number_of[id(chain.life)], taken, columns, lanes)
        yield pack(
            {"forks": sorted((author_id, life, name.hex()) for author_id, life, name in self._forks)},
            [*pack_names([name for _, name in self._names]), _places([place for place, _ in self._names])],
        )
        yield from _cached_frames(list(self._cached.items()), lanes)
        yield _floating_frame(self._floating)


_Taken = tuple[Chain, dict[str, Any], dict[str, tuple[Any, int]]]
"""A chain, its numbers and newest vector, and its columns with their lengths."""


def _capture(chain: Chain) -> _Taken:
    taken = {name: getattr(chain, name) for name in (*_NUMBERS, "tip")}
    columns = {name: getattr(chain, name) for name in (*_COLUMNS, "fan_ins", "checks", "hashes")}
    return chain, taken, {name: (column, len(column)) for name, column in columns.items()}


def _lives_frame(lives: list[tuple[Incarnation, int, float]], lanes: int) -> bytes:
    told = [(life.author_id, life.incarnation, proved_at) for life, _, proved_at in lives]
    return pack({"lives": told}, [pack_vectors([vector for _, vector, _ in lives], lanes)])


def _chain_frame(life: int, taken: dict[str, Any], columns: dict[str, tuple[Any, int]], lanes: int) -> bytes:
    cut = {name: column[:length] for name, (column, length) in columns.items()}
    return pack(
        {"life": life, **{name: taken[name] for name in _NUMBERS}},
        [
            *(cut[name].tobytes() for name in _COLUMNS),
            bytes(cut["fan_ins"]),
            pack_vectors((taken["tip"],), lanes),
            pack_vectors(cut["checks"], lanes),
            *pack_names(cut["hashes"]),
        ],
    )


def _cached_frames(cached: list[tuple[int, int]], lanes: int) -> Iterator[bytes]:
    """Vectors of about a megabyte in each frame: to compress all at once would take half a second."""
    step = max(1, (1 << 20) // max(1, lanes * 4))
    for start in range(0, len(cached), step):
        some = cached[start : start + step]
        columns = [_places([place for place, _ in some]), pack_alike([vector for _, vector in some], lanes)]
        yield pack({"cached": len(some)}, columns)


def _places(places: list[int]) -> bytes:
    return array("Q", places).tobytes()


def _floating_frame(floating: list[tuple[Any, tuple[bytes, ...]]]) -> bytes:
    """Which of the names that an intention gives are missing: one list of numbers for all, 0 the predecessor."""
    missing = [
        [place for place, name in enumerate((one.store_prev, *one.dependencies)) if name in names]
        for one, names in floating
    ]
    header, columns = pack_intentions([one for one, _ in floating])
    return pack({"missing": missing, **header}, columns)


def restore(body: bytes, parameters: KnowledgeParameters) -> Tracker:
    """The tracker of which a capture was taken; raises ValueError, KeyError, IndexError or TypeError."""
    tracker = Tracker(parameters)
    header, _, at = unpack(body)
    lanes: int = header["chains"]
    lives: list[Incarnation] = []
    while len(lives) < header["lives"]:
        told, (vectors,), at = unpack(body, at)
        lives += [
            _restore_life(author_id, incarnation, proved_at, vector)
            for (author_id, incarnation, proved_at), vector in zip(
                told["lives"], unpack_vectors(vectors, lanes), strict=True
            )
        ]
    for life in lives:
        tracker.graph.lives.setdefault(life.author_id, {})[life.incarnation] = life
    for number in range(lanes):
        told, columns, at = unpack(body, at)
        life_number: int = told["life"]
        tracker.graph.adopt(_restore_chain(number, lives[life_number], told, columns, lanes))
    at = _restore_graph(tracker, body, at, lanes, header["cached"])
    tracker.graph.order, tracker.forget_at = header["order"], header["forget_at"]
    tracker.added, tracker.removed = dict(header["added"]), set(header["removed"])
    told, columns, at = unpack(body, at)
    absent: list[list[int]] = told["missing"]
    for one, missing in zip(unpack_intentions(told, columns), absent, strict=True):
        names = (one.store_prev, *one.dependencies)
        tracker.floating.add(one, {names[place] for place in missing})
    tracker.floating.dropped = header["dropped"]
    if at != len(body):
        raise ValueError("a snapshot is longer than what it holds")
    return tracker


def _restore_graph(tracker: Tracker, body: bytes, at: int, lanes: int, cached: int) -> int:
    graph = tracker.graph
    told, (row, lengths, places), at = unpack(body, at)
    graph.forks = {(author_id, life, bytes.fromhex(name)) for author_id, life, name in told["forks"]}
    graph.recognise(zip(numbers("Q", places), unpack_names(row, lengths), strict=True))
    while cached > 0:
        told, (places, vectors), at = unpack(body, at)
        graph.recall(zip(numbers("Q", places), unpack_alike(vectors, lanes), strict=True))
        cached -= told["cached"]
    return at


def _restore_chain(number: int, life: Incarnation, told: dict[str, Any], columns: list[bytes], lanes: int) -> Chain:
    chain = Chain(number, life, ROOT, 0)
    for name in _NUMBERS:
        setattr(chain, name, told[name])
    *plain, fan_ins, tip, checks, row, lengths = columns
    for name, column in zip(_COLUMNS, plain, strict=True):
        setattr(chain, name, numbers(_KINDS[name], column))
    chain.fan_ins = bytearray(fan_ins)
    chain.tip = int.from_bytes(tip, "little")
    chain.checks = unpack_vectors(checks, lanes)
    chain.hashes = unpack_names(row, lengths)
    return chain


def _restore_life(author_id: str, incarnation: str, proved_at: float, vector: int) -> Incarnation:
    life = Incarnation(author_id, incarnation)
    life.vector, life.proved_at = vector, proved_at
    return life
