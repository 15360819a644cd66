"""What newer clients send and this version does not know: counted, logged once each, and then ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

LOGGED = 100
"""Most different values that are logged; a client that invents them must not fill the log."""
FIELDS = ("capability", "frame", "path", "platform")
"""What is informative or declarative, so that a value may be ignored; other values are refused by name."""

Note = Callable[[str, int], None]
"""Takes a field of ``FIELDS`` and the number that is not known."""


def ignore(field: str, number: int) -> None:
    """Note nothing."""


class Unrecognized:
    """Counts each value by field, and has each different one logged once."""

    def __init__(self, count: Callable[[str], None], log: Callable[..., None]) -> None:
        self._count = count
        self._log = log
        self._logged: set[tuple[str, int]] = set()

    def note(self, field: str, number: int) -> None:
        """Note a value that is ignored."""
        self._count(field)
        if (field, number) not in self._logged and len(self._logged) < LOGGED:
            self._logged.add((field, number))
            self._log("unrecognized value", field=field, number=number)


def unknown_field(message: Any) -> int:
    """The number of the first field of a message that this version does not know; 0 when there is none."""
    fields = UnknownFieldSet(message)
    return fields[0].field_number if len(fields) else 0
