"""Messages as JSON and as protobuf. JSON is read inside the call, so that its cost is charged to the connection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from connectrpc.code import Code
from connectrpc.codec import Codec
from connectrpc.errors import ConnectError
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from google.protobuf.message import DecodeError, Message
from gossipcontrol.server.errors import InvalidRequest
from gossipcontrol.server.rpc.interceptor import Unread
from gossipcontrol.server.runtime.slices import Slice
from gossipcontrol.server.runtime.turns import metered

JSON_BYTES = 256 * 1024
"""Largest request in JSON, which takes 16 ms to read; larger ones can be sent as protobuf."""


class JsonRequest(Unread):
    """A request in JSON."""

    def __init__(self, data: bytes, kind: type[Message]) -> None:
        self._data = data
        self._kind = kind

    def read(self) -> Message:
        """The message; raises InvalidRequest. Fields that are not known are ignored, as in protobuf."""
        try:
            message: Message = Parse(self._data, self._kind(), ignore_unknown_fields=True)
            return message
        except (ParseError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidRequest(
                [("request", f"cannot be read as JSON of {self._kind.DESCRIPTOR.name}: {error}")]
            ) from None


class BinaryRequest(Unread):
    """A request as protobuf."""

    def __init__(self, data: bytes, kind: type[Message]) -> None:
        self._data = data
        self._kind = kind

    def read(self) -> Any:
        """The message; raises InvalidRequest."""
        try:
            return self._kind.FromString(self._data)
        except DecodeError:
            return super().read()


class JsonCodec(Codec[Any, Any]):
    """JSON; an answer that was written in slices comes as bytes."""

    def name(self) -> str:
        """As in ``application/json``."""
        return "json"

    def encode(self, message: Any) -> bytes:
        """An answer as it is sent."""
        return message if isinstance(message, bytes) else MessageToJson(message, indent=None).encode()

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        """A request that the call will read; raises ConnectError when it is too large."""
        if len(data) > JSON_BYTES:
            text = f"a request in JSON has at most {JSON_BYTES} bytes: send this one as application/proto"
            raise ConnectError(Code.RESOURCE_EXHAUSTED, text)
        return JsonRequest(bytes(data), message_class)


class BinaryCodec(Codec[Any, Any]):
    """Protobuf."""

    def name(self) -> str:
        """As in ``application/proto``."""
        return "proto"

    def encode(self, message: Any) -> bytes:
        """An answer as it is sent."""
        data: bytes = message.SerializeToString()
        return data

    def decode(self, data: bytes | bytearray, message_class: type[Any]) -> Any:
        """A request that the call will read."""
        return BinaryRequest(bytes(data), message_class)


async def to_json(message: Message) -> bytes:
    """An answer in JSON, written in slices and charged to the call."""
    return await metered(_in_slices(message))


async def _in_slices(message: Message) -> bytes:
    work, parts = Slice(), list[str]()
    for part in _parts(message):
        parts.append(part)
        await work.rest()
    return f"{{{', '.join(parts)}}}".encode()


def _parts(message: Message) -> Iterator[str]:
    """The fields of a message; of a list of messages one piece of text per message."""
    rest = type(message)()
    rest.CopyFrom(message)
    for field, values in message.ListFields():
        if field.message_type is None or not field.is_repeated:
            continue
        rest.ClearField(field.name)
        first = f"{json.dumps(field.json_name)}: ["
        for number, value in enumerate(values):
            text = MessageToJson(value, indent=None)
            head = first if number == 0 else ""
            yield f"{head}{text}{']' if number == len(values) - 1 else ''}"
    whole = MessageToJson(rest, indent=None)
    if whole != "{}":
        yield whole[1:-1]
