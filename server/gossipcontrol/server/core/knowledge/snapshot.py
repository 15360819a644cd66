"""A tracker as bytes, column by column: captured at one instant, written out while the tracker goes on."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from gossipcontrol.server.core.knowledge.chain import NO_PARENT, Chain, Incarnation
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
from gossipcontrol.server.core.knowledge.forgetting import Forgetting
from gossipcontrol.server.core.knowledge.former import restore_former_chain, weigh
from gossipcontrol.server.core.knowledge.level import Levels
from gossipcontrol.server.core.knowledge.parameter import KnowledgeParameters
from gossipcontrol.server.core.knowledge.tracker import Tentative, Tracker
from gossipcontrol.server.core.knowledge.unproven import Voucher

PART_BYTES = 1 << 19
"""Approximate bytes of a part."""
INCARNATIONS_PER_FRAME = 64
"""Incarnations per frame: in a store of many chains their vectors are long."""
_NUMBERS = ("parent", "offset", "first", "named_from", "length", "order", "forgotten_acks")
_COLUMNS = (
    "dependency_chains", "dependency_counts", "acks", "check_at", "check_levels", "row_ends", "cut_at", "cut_ends",
    "mark_at", "mark_times",
)  # fmt: skip
_BYTES = ("fan_ins", "weights", "rows")
_KINDS = {name: getattr(Chain(0, Incarnation("", ""), NO_PARENT, 0, Levels()), name).typecode for name in _COLUMNS}


class Capture:
    """A tracker at one instant: captured within milliseconds, then readable from any thread.

    Columns only grow at their ends, and forgetting replaces them, so a reference and a length make a copy.
    """

    def __init__(self, tracker: Tracker) -> None:
        graph = tracker.graph
        self._incarnations = [
            (incarnation, incarnation.vector, incarnation.proved_at)
            for incarnations in graph.incarnations.values()
            for incarnation in incarnations.values()
        ]
        self._chains = [_capture(chain) for chain in graph.chains]
        self._names = list(graph.names)
        self._cached = graph.cached()
        self._forks = list(graph.forks)
        self._levels = list(graph.levels.bases.items())
        self._pending = _capture_pending(tracker)
        self._floating = [(one, tuple(missing)) for one, missing in tracker.floating.waiting.values()]
        self._header: dict[str, Any] = {
            "chains": len(graph.chains),
            "cached": len(self._cached),
            "order": graph.order,
            "dropped": tracker.floating.dropped,
            **tracker.membership.capture(),
            "forget_at": tracker.forget_at,
            "levels": len(self._levels),
        }
        self._vouchers = tracker.unproven.vouchers()
        if self._vouchers or tracker.brought_in:
            self._header |= {"vouchers": len(self._vouchers), "brought_in": dict(tracker.brought_in)}

    def parts(self) -> Iterator[bytes]:
        """The whole snapshot in parts of about ``PART_BYTES``, each made on demand."""
        waiting = bytearray()
        for frame in self._frames():
            waiting += frame
            while len(waiting) >= PART_BYTES:
                yield bytes(waiting[:PART_BYTES])
                del waiting[:PART_BYTES]
        if waiting:
            yield bytes(waiting)

    def _frames(self) -> Iterator[bytes]:
        lanes = len(self._chains)
        yield pack({**self._header, "lives": len(self._incarnations)}, ())
        yield from _vector_frames("levels", self._levels, lanes)
        for start in range(0, len(self._incarnations), INCARNATIONS_PER_FRAME):
            yield _incarnations_frame(self._incarnations[start : start + INCARNATIONS_PER_FRAME], lanes)
        number_of = {id(incarnation): number for number, (incarnation, _, _) in enumerate(self._incarnations)}
        for chain, captured, columns in self._chains:
            yield _chain_frame(number_of[id(chain.incarnation)], captured, columns, lanes)
        yield pack(
            {"forks": sorted((author_id, label, name.hex()) for author_id, label, name in self._forks)},
            [
                *pack_names([name for _, name in self._names]),
                _pack_positions([position for position, _ in self._names]),
            ],
        )
        yield from _vector_frames("cached", list(self._cached.items()), lanes)
        yield _floating_frame(self._floating)
        yield _pending_frame(self._pending, lanes)
        for voucher in self._vouchers:
            yield _voucher_frame(voucher)


_Captured = tuple[Chain, dict[str, Any], dict[str, tuple[Any, int]]]
"""A chain, its numbers and newest vector, and its columns with their lengths."""


def _capture(chain: Chain) -> _Captured:
    captured = {name: getattr(chain, name) for name in (*_NUMBERS, "tip")}
    columns = {name: getattr(chain, name) for name in (*_COLUMNS, *_BYTES, "hashes")}
    return chain, captured, {name: (column, len(column)) for name, column in columns.items()}


def _incarnations_frame(incarnations: list[tuple[Incarnation, int, float]], lanes: int) -> bytes:
    fields = [(incarnation.author_id, incarnation.label, proved_at) for incarnation, _, proved_at in incarnations]
    return pack({"lives": fields}, [pack_vectors([vector for _, vector, _ in incarnations], lanes)])


def _chain_frame(incarnation: int, captured: dict[str, Any], columns: dict[str, tuple[Any, int]], lanes: int) -> bytes:
    cut = {name: column[:length] for name, (column, length) in columns.items()}
    return pack(
        {"life": incarnation, **{name: captured[name] for name in _NUMBERS}},
        [
            *(cut[name].tobytes() for name in _COLUMNS),
            *(bytes(cut[name]) for name in _BYTES),
            pack_vectors((captured["tip"],), lanes),
            *pack_names(cut["hashes"]),
        ],
    )


def _vector_frames(kind: str, vectors: list[tuple[int, int]], lanes: int) -> Iterator[bytes]:
    """Vectors by number in frames of about a megabyte; compressing all at once would block for half a second."""
    step = max(1, (1 << 20) // max(1, lanes * 4))
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step]
        columns = [
            _pack_positions([position for position, _ in some]),
            pack_alike([vector for _, vector in some], lanes),
        ]
        yield pack({kind: len(some)}, columns)


def _pack_positions(positions: list[int]) -> bytes:
    return array("Q", positions).tobytes()


def _floating_frame(floating: list[tuple[Any, tuple[bytes, ...]]]) -> bytes:
    """The floating intentions, and which of the names each gives are missing: index 0 is the predecessor."""
    missing = [
        [index for index, name in enumerate((one.store_prev, *one.dependencies)) if name in names]
        for one, names in floating
    ]
    header, columns = pack_intentions([one for one, _ in floating])
    return pack({"missing": missing, **header}, columns)


_Pending = tuple[list[bytes], list[bytes], bool, Tentative | None, Forgetting | None]
"""What is ready, what has come, whether its last is under way; what is joined in part; the round of forgetting."""


def _capture_pending(tracker: Tracker) -> _Pending:
    tentative, forgetting = tracker.tentative, tracker.forgetting
    if tentative:
        vector, kept, done = tentative.joined
        tentative = tentative._replace(joined=(vector, list(kept), done))
    if forgetting:
        forgetting = Forgetting(forgetting.peers, forgetting.stable, forgetting.chains, forgetting.again)
    return list(tracker.ready), *tracker.come(), tentative, forgetting


def _pending_frame(pending: _Pending, lanes: int) -> bytes:
    ready, come, begun, tentative, forgetting = pending
    fields: dict[str, Any] = {"ready": len(ready), "begun": begun}
    columns = [*pack_names([*ready, *come])]
    if tentative:
        vector, kept, done = tentative.joined
        fields["tentative"] = (tentative.hash.hex(), tentative.branches, done)
        columns += [pack_vectors((vector,), lanes), _pack_positions(kept)]
    if forgetting:
        is_read = forgetting.stable is not None
        fields["forgetting"] = (forgetting.peers, forgetting.chains, forgetting.again, is_read)
        columns.append(pack_vectors((forgetting.stable or 0,), lanes))
    return pack(fields, columns)


def _voucher_frame(voucher: Voucher) -> bytes:
    header, columns = pack_intentions([one for one, _ in voucher.words])
    is_author = bytes(own for _, own in voucher.words)
    return pack({"identity": voucher.identity, **header}, [is_author, *columns])


def _restore_vouchers(tracker: Tracker, body: bytes, at: int, count: int) -> int:
    for _ in range(count):
        fields, (is_author, *columns), at = unpack(body, at)
        words = zip(unpack_intentions(fields, columns), map(bool, is_author), strict=True)
        tracker.unproven.recall([Voucher(fields["identity"], tuple(words))])
    return at


def _restore_pending(tracker: Tracker, body: bytes, at: int, lanes: int) -> int:
    fields, (row, lengths, *columns), at = unpack(body, at)
    names = unpack_names(row, lengths)
    tracker.recall_pending(names[: fields["ready"]], names[fields["ready"] :], begun=fields["begun"])
    if "tentative" in fields:
        name, branches, done = fields["tentative"]
        (vector,), kept, *columns = unpack_vectors(columns[0], lanes), *columns[1:]
        joined = vector, list(numbers("Q", kept)), done
        tracker.tentative = Tentative(bytes.fromhex(name), branches, joined)
    if "forgetting" in fields:
        peers, chains, again, is_read = fields["forgetting"]
        (stable,) = unpack_vectors(columns[0], lanes)
        tracker.forgetting = Forgetting(peers, stable if is_read else None, chains, again)
    return at


def restore(body: bytes, parameters: KnowledgeParameters) -> Tracker:
    """The tracker from its snapshot; raises ValueError, KeyError, IndexError or TypeError."""
    tracker = Tracker(parameters)
    graph = tracker.graph
    header, _, at = unpack(body)
    lanes: int = header["chains"]
    is_current = "levels" in header
    levels, at = _restore_vectors("levels", header.get("levels", 0), body, at, lanes)
    graph.levels.recall(levels)
    incarnations: list[Incarnation] = []
    while len(incarnations) < header["lives"]:
        fields, (vectors,), at = unpack(body, at)
        incarnations += [
            _restore_incarnation(author_id, label, proved_at, vector)
            for (author_id, label, proved_at), vector in zip(
                fields["lives"], unpack_vectors(vectors, lanes), strict=True
            )
        ]
    for incarnation in incarnations:
        graph.incarnations.setdefault(incarnation.author_id, {})[incarnation.label] = incarnation
    for number in range(lanes):
        fields, columns, at = unpack(body, at)
        life: int = fields["life"]
        chain = Chain(number, incarnations[life], NO_PARENT, 0, graph.levels)
        (_restore_chain if is_current else restore_former_chain)(chain, fields, columns, lanes)
        graph.adopt(chain)
    graph.order, tracker.forget_at = header["order"], header["forget_at"]
    at = _restore_graph(tracker, body, at, lanes, header["cached"])
    tracker.membership.restore(header)
    tracker.recall_peers()
    fields, columns, at = unpack(body, at)
    absent: list[list[int]] = fields["missing"]
    for one, missing in zip(unpack_intentions(fields, columns), absent, strict=True):
        names = (one.store_prev, *one.dependencies)
        tracker.floating.add(one, {names[index] for index in missing})
    tracker.floating.dropped = header["dropped"]
    if is_current:
        at = _restore_pending(tracker, body, at, lanes)
    else:
        weigh(graph)
    at = _restore_vouchers(tracker, body, at, header.get("vouchers", 0))
    for author_id, identity in header.get("brought_in", {}).items():
        tracker.bring_in(author_id, identity)
    if at != len(body):
        raise ValueError("a snapshot is longer than what it holds")
    return tracker


def _restore_graph(tracker: Tracker, body: bytes, at: int, lanes: int, cached: int) -> int:
    graph = tracker.graph
    fields, (row, lengths, positions), at = unpack(body, at)
    graph.forks = {(author_id, label, bytes.fromhex(name)) for author_id, label, name in fields["forks"]}
    graph.recall_names(zip(numbers("Q", positions), unpack_names(row, lengths), strict=True))
    vectors, at = _restore_vectors("cached", cached, body, at, lanes)
    graph.recall_vectors(vectors)
    return at


def _restore_vectors(kind: str, left: int, body: bytes, at: int, lanes: int) -> tuple[list[tuple[int, int]], int]:
    found: list[tuple[int, int]] = []
    while left > 0:
        fields, (positions, vectors), at = unpack(body, at)
        found += zip(numbers("Q", positions), unpack_alike(vectors, lanes), strict=True)
        left -= fields[kind]
    return found, at


def _restore_chain(chain: Chain, fields: dict[str, Any], columns: list[bytes], lanes: int) -> None:
    del lanes
    for name in _NUMBERS:
        setattr(chain, name, fields[name])
    *plain, fan_ins, weights, rows, tip, row, lengths = columns
    for name, column in zip(_COLUMNS, plain, strict=True):
        setattr(chain, name, numbers(_KINDS[name], column))
    chain.fan_ins, chain.weights, chain.rows = bytearray(fan_ins), bytearray(weights), bytearray(rows)
    chain.tip = int.from_bytes(tip, "little")
    chain.hashes = unpack_names(row, lengths)
    for level in chain.check_levels:
        chain.levels.hold(level)


def _restore_incarnation(author_id: str, label: str, proved_at: float, vector: int) -> Incarnation:
    incarnation = Incarnation(author_id, label)
    incarnation.vector, incarnation.proved_at = vector, proved_at
    return incarnation
