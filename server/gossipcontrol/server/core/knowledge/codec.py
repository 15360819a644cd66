"""Events of knowledge as bytes for the log: one record per batch, in which every hash appears once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import Any

from gossipcontrol.server.core.knowledge.column import code, numbers, pack, pack_names, unpack, unpack_names
from gossipcontrol.server.core.knowledge.event import IntentionsRecorded, KnowledgeEvent, Member, MembersChanged
from gossipcontrol.server.core.knowledge.intention import Intention


def write_event(event: KnowledgeEvent, room: int) -> bytes:
    """Encode an event, with the room that its store had then."""
    if isinstance(event, MembersChanged):
        added = [(member.peer_id, member.incarnation, member.lower) for member in event.added]
        return pack({"added": added, "removed": event.removed, "hold": event.hold, "undo": event.undo}, ())
    header, columns = pack_intentions(event.intentions)
    if event.identity:
        header |= {"identity": event.identity, "authored": event.authored.hex()}
    return pack({"room": room, "sender": event.sender_id, "sequence": event.sequence, **header}, columns)


def read_event(store_id: str, body: bytes) -> tuple[KnowledgeEvent, int]:
    """Decode what ``write_event`` wrote; raises ValueError, KeyError, IndexError or TypeError."""
    header, columns, _ = unpack(body)
    if "added" in header:
        added = tuple(Member(*member) for member in header["added"])
        hold, undo = header.get("hold", 0.0), header.get("undo", False)
        return MembersChanged(store_id, added, tuple(header["removed"]), hold, undo), 0
    intentions = tuple(unpack_intentions(header, columns))
    word = header.get("identity", ""), bytes.fromhex(header.get("authored", ""))
    return IntentionsRecorded(store_id, intentions, header["sender"], header["sequence"], *word), header["room"]


def pack_intentions(intentions: Sequence[Intention]) -> tuple[dict[str, Any], list[bytes]]:
    """Header and columns of a batch. Intentions mostly name each other, so a name is an index into one table."""
    if not intentions:
        return {}, []
    author_ids, hashes, prevs, dependencies, acks, labels = zip(*intentions, strict=True)
    named = list(chain.from_iterable(dependencies))
    names = list(dict.fromkeys(chain(hashes, filter(None, prevs), named)))
    index = dict(zip(names, count(1), strict=False))
    index[b""] = 0
    kind = code(len(names))
    author_table, author_column = _pack_texts(author_ids)
    label_table, label_column = _pack_texts(labels)
    return {"authors": author_table, "lives": label_table, "names": len(names)}, [
        *pack_names(names),
        *(array(kind, map(index.__getitem__, column)).tobytes() for column in (hashes, prevs, named)),
        array("H", map(len, dependencies)).tobytes(),
        author_column,
        label_column,
        bytes(acks),
    ]


def unpack_intentions(header: dict[str, Any], columns: Sequence[bytes]) -> list[Intention]:
    """The intentions; raises ValueError, KeyError or IndexError."""
    if not columns:
        return []
    row, lengths, *name_columns, fan_outs, author_column, label_column, acks = columns
    names = [b"", *unpack_names(row, lengths)]
    hashes, prevs, named = ([names[one] for one in numbers(code(header["names"]), column)] for column in name_columns)
    found: list[Intention] = []
    start = 0
    author_ids, labels = (
        _unpack_texts(header["authors"], author_column),
        _unpack_texts(header["lives"], label_column),
    )
    for author_id, name, prev, fan_out, ack, label in zip(
        author_ids, hashes, prevs, numbers("H", fan_outs), acks, labels, strict=True
    ):
        found.append(Intention(author_id, name, prev, tuple(named[start : start + fan_out]), ack == 1, label))
        start += fan_out
    return found


def _pack_texts(texts: Sequence[str]) -> tuple[list[str], bytes]:
    """The distinct texts, and each row's index into them."""
    table = list(dict.fromkeys(texts))
    index = dict(zip(table, count(), strict=False))
    return table, array(code(len(table)), map(index.__getitem__, texts)).tobytes()


def _unpack_texts(table: Sequence[str], column: bytes) -> Iterable[str]:
    return [table[one] for one in numbers(code(len(table)), column)]
