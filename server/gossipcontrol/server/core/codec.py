"""Values to plain JSON and back by their type hints: explicit, without code in the data, open to new fields.

A field that the data lacks takes its default; one that the class lacks is an error, for dropping it would lose state.

What is saved may be encoded later than it is captured (``Later``), for a snapshot of a large fleet takes seconds to
encode, and the event loop must go on.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum, IntEnum
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from gossipcontrol.server.core.slices import Slices

T = TypeVar("T")
Plain = Any
"""What ``json`` writes and reads."""


class CodecError(ValueError):
    """The data does not fit the type."""


_PLAIN = frozenset({type(None), str, int, float, bool})
"""Types whose values are plain: most are, and need no call."""


def encode(value: Any) -> Plain:
    """Any value of the core as plain JSON; enumerations of words by name, those of the API by number."""
    return _encoder(value.__class__)(value)


class Later:
    """A value that changes no more, and what encodes it."""

    __slots__ = ("_encode", "_value")

    def __init__(self, value: Any, encode: Callable[[Any], Plain] = encode) -> None:
        self._value = value
        self._encode = encode

    def plain(self) -> Plain:
        """The value as plain JSON."""
        return self._encode(self._value)


class LaterList:
    """A list of which each element is made when it is written, and again when it is written again.

    What ``values`` gives must change no more. ``release`` frees in slices what this list and those beside it are made
    of, once nobody will write them again.
    """

    __slots__ = ("_encode", "_values", "is_heavy", "release")

    def __init__(
        self,
        values: Callable[[], Iterable[Any]],
        encode: Callable[[Any], Plain],
        *,
        is_heavy: bool = False,
        release: Callable[[], Slices[None]] | None = None,
    ) -> None:
        self.release = release
        self._values = values
        self._encode = encode
        self.is_heavy = is_heavy
        """Whether one element may be as long as a list."""

    def __iter__(self) -> Iterator[Plain]:
        return map(self._encode, self._values())


class LaterMap:
    """Likewise a dictionary."""

    __slots__ = ("items",)

    def __init__(self, items: Callable[[], Iterable[tuple[str, Plain]]]) -> None:
        self.items = items


def encode_fields(value: Any) -> dict[str, Plain]:
    """The fields of a dataclass by name; those that are empty by default and still are stay out."""
    layout = layout_of(value.__class__, ())
    return layout.encode(layout.read(value))


def resolve(plain: Plain) -> Plain:
    """Encode whatever was to be encoded later."""
    if isinstance(plain, Later):
        return plain.plain()
    if isinstance(plain, (dict, LaterMap)):
        return {name: resolve(one) for name, one in cast("dict[str, Plain]", plain).items()}
    if isinstance(plain, (list, tuple, LaterList)):
        return [resolve(one) for one in cast("list[Plain]", plain)]
    return plain


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
    hints, names = _hints(cast("Any", kind)), _former_names(cast("Any", kind))
    if names and not names.keys().isdisjoint(plain):
        plain = {names.get(name, name): one for name, one in plain.items()}
    if unknown := plain.keys() - (hints.keys() - set(without)):
        raise CodecError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}: was this written by a newer version?"
        )
    return {name: decode(one, hints[name]) for name, one in plain.items()}


def formerly(name: str) -> dict[str, str]:
    """The metadata of a dataclass field that was renamed: what was saved under the old name is read as well."""
    return {_FORMERLY: name}


_FORMERLY = "formerly"


@cache
def _former_names(kind: Any) -> dict[str, str]:
    return {one.metadata[_FORMERLY]: one.name for one in dataclasses.fields(kind) if _FORMERLY in one.metadata}


def check(hint: Any) -> None:
    """Raise CodecError when values of this type cannot be decoded."""
    _decoder(hint)


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


class Layout:
    """The fields of a dataclass that are saved."""

    def __init__(self, kind: Any, without: tuple[str, ...]) -> None:
        fields = [one for one in dataclasses.fields(kind) if one.name not in without]
        # A field without a default is never equal to the class itself.
        self._defaults = [(one.name, kind if one.default is dataclasses.MISSING else one.default) for one in fields]
        names = [one.name for one in fields]
        self._places = {name: place for place, name in enumerate(names)}
        self._get: Callable[[Any], tuple[Any, ...]] = (
            attrgetter(*names) if len(names) > 1 else lambda value: tuple(getattr(value, name) for name in names)
        )
        self._mutable = [index for index, name in enumerate(names) if _is_mutable(_hints(kind)[name])]

    def read(self, value: Any) -> Sequence[Any]:
        """What they hold; what could change is copied."""
        values = self._get(value)
        for index in self._mutable:
            if (one := values[index]) is not None:
                values = (*values[:index], _COPIES[type(one)](one), *values[index + 1 :])
        return values

    def value(self, values: Sequence[Any], name: str) -> Any:
        """The value of one of the fields that were read."""
        return values[self._places[name]]

    def encode(self, values: Sequence[Any]) -> dict[str, Plain]:
        """By name."""
        plain: dict[str, Plain] = {}
        for (name, default), one in zip(self._defaults, values, strict=True):
            if one or one != default:
                plain[name] = one if type(one) in _PLAIN else encode(one)
        return plain


_COPIES: dict[Any, Callable[[Any], Any]] = {set: frozenset, deque: tuple, list: tuple}
"""What stands for a value that can change, and is encoded as that is."""


def _is_mutable(hint: Any) -> bool:
    hints = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return any((get_origin(one) or one) in _COPIES for one in hints)


layout_of = cache(Layout)
"""By class, and the fields that are not saved."""


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
