"""Parses a large message in pieces, between which other work goes on.

Protobuf reads a concatenation of encoded messages as their merge, so a message may be cut between two fields, and a
long field that is a message itself may be cut in the same way. What no legal message has is refused instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from gossipcontrol.server.core.slices import Slices

PIECE = 1 << 16
"""Bytes that are parsed in one go, some 0.5 ms; a shorter message is not cut."""
FIELDS = 20_000
"""Most fields at one level of a message: the legal one with most, of sync results and reports, has 1,100."""
VARINT_BYTES = 10
_MESSAGE = 2
"""The wire type of strings, bytes and messages."""


class TooManyFields(DecodeError):
    """A message has more fields, or a longer one, than any that is legal."""


class _Field(NamedTuple):
    """Where a field of an encoded message lies."""

    number: int
    wire_type: int
    begins_at: int
    content_at: int
    ends_at: int


def parse_slices(message: Any, data: bytes) -> Slices[None]:
    """Merge encoded bytes into a message; raises DecodeError where protobuf would, and TooManyFields."""
    if len(data) <= PIECE:
        message.MergeFromString(data)
        return
    yield from _merge(message, memoryview(data), 0, len(data))


def _merge(message: Any, data: memoryview, begins_at: int, ends_at: int) -> Slices[None]:
    """Merge the fields that lie there."""
    merged = begins_at
    for count, field in enumerate(_fields(data, begins_at, ends_at)):
        if count >= FIELDS:
            raise TooManyFields(f"has more than {FIELDS} fields")
        if count % 1000 == 999:
            yield
        if field.wire_type == _MESSAGE and field.ends_at - field.content_at > PIECE:
            inner = _inner(message, field.number)
            if inner is not None:
                message.MergeFromString(data[merged : field.begins_at])
                yield
                yield from _merge(inner(), data, field.content_at, field.ends_at)
                merged = field.ends_at
        if field.ends_at - merged >= PIECE:
            message.MergeFromString(data[merged : field.ends_at])
            merged = field.ends_at
            yield
    message.MergeFromString(data[merged:ends_at])


def _inner(message: Any, number: int) -> Any:
    """What makes the message of a long field; None for a field that is not known. Raises TooManyFields for another."""
    known = message.DESCRIPTOR.fields_by_number.get(number)
    if known is None:
        return None
    if known.message_type is None:
        raise TooManyFields(f"has a field of more than {PIECE} bytes, {known.name}")
    holder = getattr(message, known.name)
    if known.is_repeated:
        return holder.add

    def make() -> Any:
        holder.SetInParent()
        return holder

    return make


def _fields(data: memoryview, at: int, ends_at: int) -> Iterator[_Field]:
    """The fields of an encoded message; raises DecodeError."""
    while at < ends_at:
        begins_at = at
        tag, at = _varint(data, at, ends_at)
        wire_type, content_at = tag & 7, at
        match wire_type:
            case 0:
                at = _varint(data, at, ends_at)[1]
            case 1:
                at += 8
            case 2:
                length, content_at = _varint(data, at, ends_at)
                at = content_at + length
            case 5:
                at += 4
            case _:
                raise DecodeError("has a group or an unknown wire type")
        if at > ends_at:
            raise DecodeError("ends within a field")
        yield _Field(tag >> 3, wire_type, begins_at, content_at, at)


def _varint(data: memoryview, at: int, ends_at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends; raises DecodeError."""
    value = shift = 0
    for place in range(at, min(ends_at, at + VARINT_BYTES)):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place + 1
        shift += 7
    raise DecodeError("ends within a number")
