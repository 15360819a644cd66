"""The one shape of ``--json`` (docs/json.md): versioned, snake_case, seconds as numbers, every field present."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # the help of a command must not wait for protobuf
    from google.protobuf.message import Message

VERSION = 1
"""Rises when a field is taken away or changes its meaning; further fields may come without."""


def print_document(fields: Mapping[str, object]) -> None:
    """One JSON document, for people too."""
    click.echo(json.dumps({"version": VERSION, "ts": time.time(), **fields}, indent=2))


def event_line(what: str, fields: Mapping[str, object]) -> str:
    """One event as a line of JSON, which is ASCII."""
    return json.dumps({"version": VERSION, "ts": time.time(), "event": what, **fields})


def plain_list(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """Messages of the service."""
    return [plain(message) for message in messages]


def plain(message: Message) -> dict[str, Any]:
    """A message of the service: its fields of all names, null where one that is optional is absent."""
    return dict(_field(message, field) for field in message.DESCRIPTOR.fields)


def _field(message: Message, field: Any) -> tuple[str, Any]:
    """Milliseconds become seconds, and their names say so."""
    name = re.sub(r"_ms$", "_seconds", field.name)
    value: Any = getattr(message, field.name)
    if field.is_repeated:
        return name, [_value(field, one) for one in value]
    if field.has_presence and not message.HasField(field.name):
        return name, None
    return name, value / 1000 if name != field.name else _value(field, value)


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return plain(value)
    if field.enum_type is not None:
        return _word(field, value)
    return value.hex() if isinstance(value, bytes) else value


def _word(field: Any, number: int) -> str:
    """The word of an enumeration as the commands take it: ``network-change``."""
    kind: Any = field.enum_type
    known = kind.values_by_number.get(number)
    if known is None:
        return f"unrecognized-{number}"
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.name).upper() + "_"
    return str(known.name).removeprefix(prefix).lower().replace("_", "-")
