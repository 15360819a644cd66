"""Bounds of fields, as the .proto files document them; each check adds a violation that names the field."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeVar

from gossipcontrol.server.errors import InvalidRequest

ID_BYTES = 128
"""Most bytes of a node, host, store or peer id."""
STORES = 1024
"""Most stores named in one message."""
NODES = 128
"""Most nodes named in one network change."""
PEERS = 1000
"""Most peers, and most neighbours, in one liveness report."""
REPORTS = 100
"""Most liveness reports in one batch."""
RESULTS = 1000
"""Most sync results in one batch."""
AGE_MS = 30 * 24 * 3600 * 1000
"""Oldest age: 30 days, in milliseconds."""
PAGE = 1000
"""Most entries of one page."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch

Violations = list[tuple[str, str]]
"""(Path of the field, what is wrong)."""
E = TypeVar("E", bound=IntEnum)


def refuse(violations: Violations) -> None:
    """Raise InvalidRequest if there are any."""
    if violations:
        raise InvalidRequest(violations)


def check_text(value: str, name: str, limit: int, violations: Violations, *, required: bool = False) -> None:
    """A string of at most ``limit`` bytes."""
    if not value:
        if required:
            violations.append((name, "must not be empty"))
    # Four bytes are the most that a character takes in UTF-8, so short strings need no encoding.
    elif len(value) * 4 > limit and len(value.encode()) > limit:
        violations.append((name, f"must be at most {limit} bytes, is {len(value.encode())}"))


def are_ids(values: Sequence[str]) -> bool:
    """Whether all are ids: not empty, and not longer than an id may be; quick, and without a word on what is wrong."""
    if not all(values):
        return False
    if "".join(values).isascii():
        return max(map(len, values)) <= ID_BYTES
    return max(len(value.encode()) for value in values) <= ID_BYTES


def check_texts(values: Sequence[str], name: str, most: int, limit: int, violations: Violations) -> tuple[str, ...]:
    """At most ``most`` distinct strings, none empty."""
    if len(values) > most:
        violations.append((name, f"must have at most {most} entries, has {len(values)}"))
        return ()
    texts = tuple(values)
    for index, value in enumerate(texts):
        check_text(value, f"{name}[{index}]", limit, violations, required=True)
    if len(set(texts)) != len(texts):
        violations.append((name, "must name each entry once"))
    return texts


def check_request_id(value: str, violations: Violations) -> None:
    """A UUID in its 36-character form, or empty."""
    if value and not _UUID(value):
        violations.append(("request_id", "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000, or empty"))


def check_age(value: int, name: str, violations: Violations) -> None:
    """An age in milliseconds."""
    if value > AGE_MS:
        violations.append((name, f"must be at most {AGE_MS} (30 days in milliseconds), is {value}"))


def check_page_size(value: int, violations: Violations) -> int:
    """The size of a page; 0 stands for 100."""
    if value > PAGE:
        violations.append(("page_size", f"must be at most {PAGE}, is {value}"))
    return value or 100


def check_enum(value: int, kind: type[E], name: str, violations: Violations) -> E | None:
    """A known and given number of an enumeration."""
    try:
        return kind(value)
    except ValueError:
        violations.append((name, "must be given" if value == 0 else f"{value} is not a known value"))
        return None
