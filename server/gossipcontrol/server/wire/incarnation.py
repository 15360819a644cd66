"""Incarnations that are times: how each form is read, and how far ahead one may be."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from gossipcontrol.server.wire.limits import Violations

AHEAD = 86_400.0
"""Seconds by which an incarnation may be ahead of the service's time: clocks differ, time zones get confused."""
_HEX = "[0-9a-fA-F]"
_UUID7 = re.compile(f"({_HEX}{{8}})-({_HEX}{{4}})-7{_HEX}{{3}}-[89abAB]{_HEX}{{3}}-{_HEX}{{12}}").fullmatch
_DIGITS = re.compile(r"[0-9]{10,64}").fullmatch
_UNITS = ((1e11, 1.0), (1e14, 1e3), (1e17, 1e6))
"""Values below which a number of ten digits and more counts seconds, milliseconds, microseconds; else nanoseconds."""
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}T.*").fullmatch


@lru_cache(4096)
def read_time(label: str) -> float | None:
    """The Unix time that an incarnation stands for: a UUID of version 7, a number, ISO 8601; None: it is no time."""
    if found := _UUID7(label):
        return int(found[1] + found[2], 16) / 1000
    if _DIGITS(label):
        value = int(label)
        return value / next((unit for most, unit in _UNITS if value < most), 1e9)
    if not _ISO(label):
        return None
    try:
        read = datetime.fromisoformat(label)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def check_incarnation(label: str, name: str, now: float, violations: Violations, known: str = "") -> None:
    """No time that is more than a day ahead; and after a ``known`` one that is a time, nothing greater that is none."""
    at = read_time(label)
    if at is not None and at > now + AHEAD:
        violations.append((name, "is a time more than a day ahead: a peer in it could never begin another life"))
    elif at is None and label > known and read_time(known) is not None:
        violations.append((name, f"must be a time like {known}, in which the peer is: else no later time counts"))
