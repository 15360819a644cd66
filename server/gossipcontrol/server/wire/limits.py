"""Limits of fields, as the .proto files document them, and their checks: each adds a violation that names the field."""

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
INTENTIONS = 1000
"""Most intentions in one batch."""
DEPENDENCIES = 1024
"""Most dependencies of one intention."""
MEMBERS = 1000
"""Most members added, and most removed, in one call."""
CAPABILITIES = 16
"""Most capabilities of one agent that are read."""
ADDRESSES = 16
"""Most addresses of one agent."""
ADDRESS_BYTES = 256
"""Most bytes of an address."""
SHORT_ID_BYTES = 64
"""Most bytes of a rejoin id, boot id or incarnation."""
SIGNATURE_BYTES = 512
"""Most bytes of a signature: those of Ed25519 have 64."""
HASH_BYTES = 64
"""Most bytes of a hash."""
DETAIL_BYTES = 256
"""Most bytes of the detail of a change, and of the reason of a goodbye."""
AGENT_BYTES = 128
"""Most bytes of the name and version of an agent."""
NAME_BYTES = 64
"""Most bytes of the name of a node."""
ERROR_BYTES = 1024
"""Most bytes of a node's error message."""
PAGE_SIZE = 1000
"""Most entries of one page."""
DEFAULT_PAGE_SIZE = 100
"""Entries of a page when the request names no size."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch

Violations = list[tuple[str, str]]
"""Pairs of a field's path and what is wrong with it."""
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
    """Whether all are ids: not empty and not too long. Fast, because it does not say which is wrong."""
    if not all(values):
        return False
    if "".join(values).isascii():
        return max(map(len, values)) <= ID_BYTES
    return max(len(value.encode()) for value in values) <= ID_BYTES


def check_texts(values: Sequence[str], name: str, most: int, limit: int, violations: Violations) -> tuple[str, ...]:
    """At most ``most`` distinct strings, none empty."""
    if not check_count(len(values), name, most, violations):
        return ()
    texts = tuple(values)
    for index, value in enumerate(texts):
        check_text(value, f"{name}[{index}]", limit, violations, required=True)
    if len(set(texts)) != len(texts):
        violations.append((name, "must name each entry once"))
    return texts


def check_hash(value: bytes, name: str, violations: Violations, *, required: bool = False) -> None:
    """A hash of at most 64 bytes."""
    if not value and required:
        violations.append((name, "must not be empty"))
    if len(value) > HASH_BYTES:
        violations.append((name, f"must be at most {HASH_BYTES} bytes, is {len(value)}"))


def check_count(count: int, name: str, most: int, violations: Violations) -> bool:
    """At most so many entries; returns whether there are."""
    if count > most:
        violations.append((name, f"must have at most {most} entries, has {count}"))
    return count <= most


def check_request_id(value: str, violations: Violations) -> None:
    """A UUID in its 36-character form, or empty."""
    if value and not _UUID(value):
        violations.append(("request_id", "must be a UUID such as 123e4567-e89b-12d3-a456-426614174000, or empty"))


def check_age(value: int, name: str, violations: Violations) -> None:
    """An age in milliseconds."""
    if value > AGE_MS:
        violations.append((name, f"must be at most {AGE_MS} (30 days in milliseconds), is {value}"))


def check_page_size(value: int, violations: Violations) -> int:
    """The size of a page; 0 means the default."""
    if value > PAGE_SIZE:
        violations.append(("page_size", f"must be at most {PAGE_SIZE}, is {value}"))
    return value or DEFAULT_PAGE_SIZE


def check_enum(value: int, kind: type[E], name: str, violations: Violations) -> E | None:
    """A known value of an enumeration, not 0."""
    try:
        return kind(value)
    except ValueError:
        violations.append((name, "must be given" if value == 0 else f"{value} is not a known value"))
        return None
