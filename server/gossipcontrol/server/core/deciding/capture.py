"""The state of one instant, read in slices while it goes on changing: each object is read before its first change.

For as long as it takes, the classes of these objects have a ``__setattr__`` that reads first, so that at other times an
assignment costs nothing. Who changes a container inside such an object calls ``about_to_change`` before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from gossipcontrol.server.core.slices import Slices

EACH = 100
"""Objects read between two pauses: some 0.1 ms."""
PARTS = 64
"""Parts of what was read: a dictionary that grows moves all of it, 12 ms for 400,000 objects."""
RELEASED = 1000
"""Objects freed between two pauses: about a millisecond."""

Read = Callable[[Any], Any]


class Capture:
    """Reads objects of some classes as they were when it began. ``reads`` says how, by class."""

    def __init__(self, reads: Mapping[type[Any], Read]) -> None:
        self._reads = reads
        self._last = {kind: dataclasses.fields(kind)[-1].name for kind in reads}
        """An object without its last field is being made."""
        self._records: list[dict[Any, Any]] = [{} for _ in range(PARTS)]
        """By address, so that all parts are of about the same size."""
        self._expected: list[Iterable[Any]] = []

    def begin(self) -> None:
        """From now on read before the first change."""
        for kind in self._reads:
            _under_way.setdefault(kind, []).append(self)
            setattr(kind, "__setattr__", _read_and_assign)  # noqa: B010 - which mypy does not let be assigned

    def end(self) -> None:
        """All is read, or nobody wants it any longer."""
        for kind in self._reads:
            captures = _under_way[kind]
            captures.remove(self)
            if not captures:
                del _under_way[kind]
                delattr(kind, "__setattr__")

    def expect(self, objects: Iterable[Any]) -> None:
        """Have these read in one of the slices; what ``objects`` iterates over must not change meanwhile."""
        self._expected.append(objects)

    def read(self) -> Slices[None]:
        """Read what is expected and was not read before."""
        for objects in self._expected:
            for number, one in enumerate(objects):
                self.of(one)
                if number % EACH == EACH - 1:
                    yield
            yield

    def of(self, one: Any) -> Any:
        """What was read of an object, now at the latest."""
        records = self._records[(id(one) >> 4) % PARTS]
        if one not in records:
            is_new = not hasattr(one, self._last[type(one)])
            records[one] = None if is_new else self._reads[type(one)](one)
        return records[one]

    def release(self) -> Slices[None]:
        """Forget what was read; nothing more may be asked for. All at once holds up every thread, 80 ms for 400,000."""
        while self._records:
            part = self._records.pop()
            while part:
                for _ in range(min(RELEASED, len(part))):
                    part.popitem()
                yield


_under_way: dict[type[Any], list[Capture]] = {}
"""The captures that are not complete, by class."""


def about_to_change(one: Any) -> None:
    """A container of this object is about to change."""
    for capture in _under_way.get(cast("Any", type(one)), ()):
        capture.of(one)


def _read_and_assign(one: Any, name: str, value: Any) -> None:
    about_to_change(one)
    object.__setattr__(one, name, value)
