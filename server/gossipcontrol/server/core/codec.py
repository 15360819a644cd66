"""Values to plain JSON and back by their type hints: explicit, without code in the data, open to new fields.

A field that the data lacks takes its default; one that the class lacks is an error, for dropping it would lose state.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Collection
from enum import Enum, IntEnum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Plain = Any
"""What ``json`` writes and reads."""


class CodecError(ValueError):
    """The data does not fit the type."""


_PLAIN = frozenset({type(None), str, int, float, bool})
"""Types whose values are plain: most are, and need no call."""


def encode(value: Any) -> Plain:
    """Any value of the core as plain JSON; enumerations of words by name, those of the API by number."""
    return _encoder(cast("Any", type(value)))(value)


def encode_fields(value: Any, without: Collection[str] = ()) -> dict[str, Plain]:
    """The fields of a dataclass by name; those that are empty by default and still are stay out."""
    defaults, read = _defaults(cast("Any", type(value)))
    return {
        name: one if type(one) in _PLAIN else encode(one)
        for (name, default), one in zip(defaults, read(value), strict=True)
        if (one or one != default) and name not in without
    }


def _encode_all(values: Collection[Any]) -> list[Plain]:
    return [one if type(one) in _PLAIN else encode(one) for one in values]


def decode(plain: Plain, hint: Any) -> Any:
    """The value of this type; raises CodecError."""
    try:
        return _decoder(hint)(plain)
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise CodecError(f"{plain!r:.100} is not {hint}: {error}") from error


def decode_fields(plain: dict[str, Plain], kind: type[T], without: Collection[str] = ()) -> dict[str, Any]:
    """The given fields of a dataclass, decoded; raises CodecError for one that the class does not have."""
    hints = _hints(cast("Any", kind))
    if unknown := plain.keys() - (hints.keys() - set(without)):
        raise CodecError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}: was this written by a newer version?"
        )
    return {name: decode(one, hints[name]) for name, one in plain.items()}


def check(hint: Any) -> None:
    """Raise CodecError when values of this type cannot be decoded."""
    _decoder(hint)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


@cache
def _defaults(kind: Any) -> tuple[tuple[tuple[str, Any], ...], Callable[[Any], tuple[Any, ...]]]:
    """Each field with its default, and what reads all; a field without one is never equal to the class itself."""
    defaults = tuple(
        (one.name, kind if one.default is dataclasses.MISSING else one.default) for one in dataclasses.fields(kind)
    )
    names = [name for name, _ in defaults]
    if len(names) > 1:
        return defaults, attrgetter(*names)
    return defaults, lambda value: tuple(getattr(value, name) for name in names)


@cache
def _encoder(kind: Any) -> Callable[[Any], Plain]:
    """Chosen once per type: a snapshot of a large fleet encodes millions of values."""
    if issubclass(kind, Enum):
        return int if issubclass(kind, IntEnum) else lambda value: value.name
    if issubclass(kind, (str, int, float)) or kind in _PLAIN:
        return lambda value: value
    if issubclass(kind, (tuple, list, deque)):
        return _encode_all
    if issubclass(kind, (set, frozenset)):
        return lambda value: sorted(_encode_all(value))
    if dataclasses.is_dataclass(kind):
        return encode_fields
    return _refuse


def _refuse(value: Any) -> Plain:
    raise CodecError(f"{value!r:.100} cannot be encoded")


@cache
def _decoder(hint: Any) -> Callable[[Plain], Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        inner = _decoder(next(one for one in arguments if one is not type(None)))
        return lambda plain: None if plain is None else inner(plain)
    if origin is tuple and arguments[-1] is not Ellipsis:
        inners = [_decoder(one) for one in arguments]
        return lambda plain: tuple(inner(one) for inner, one in zip(inners, plain, strict=True))
    if origin in (tuple, list, set, frozenset, deque):
        inner, make = _decoder(arguments[0]), cast("Callable[[Any], Any]", origin)
        return lambda plain: make(inner(one) for one in plain)
    if isinstance(hint, type):
        return _class_decoder(hint)
    raise CodecError(f"{hint} cannot be decoded")


def _class_decoder(kind: type[Any]) -> Callable[[Plain], Any]:
    if kind is float:
        return float
    if kind in (str, int, bool):
        return lambda plain: _exactly(kind, plain)
    if issubclass(kind, IntEnum):
        return kind
    if issubclass(kind, Enum):
        return lambda plain: kind[plain]
    if hasattr(kind, "_fields"):
        inners = [_decoder(one) for one in _hints(cast("Any", kind)).values()]
        return lambda plain: kind(*(inner(one) for inner, one in zip(inners, plain, strict=False)))
    if dataclasses.is_dataclass(kind):
        return lambda plain: kind(**decode_fields(plain, kind))
    raise CodecError(f"{kind.__name__} cannot be decoded")


def _exactly(kind: type[T], plain: Plain) -> T:
    if type(plain) is not kind:
        raise CodecError(f"{plain!r:.100} is not of {kind.__name__}")
    return plain
