"""Incarnations that are times are read as such, and may not be far ahead."""

from __future__ import annotations

import pytest
from gossipcontrol.server.wire.incarnation import check_incarnation, read_time

NOW = 1_795_000_000.0
"""A day in November 2026."""


@pytest.mark.parametrize(
    ("label", "time"),
    [
        ("1795000000", NOW), ("1795000000000", NOW), ("1795000000000000", NOW), ("1795000000000000000", NOW),
        ("00001795000000000000", NOW), ("2026-11-18T10:26:40Z", 1_794_997_600.0), ("20261118T102640Z", 1_794_997_600.0),
        ("2026-11-18T10:26:40+01:00", 1_794_994_000.0), ("2026-11-18T10:26:40", 1_794_997_600.0),
        ("019a0000-0000-7000-8000-000000000000", 0x019A00000000 / 1000),
        ("", None), ("2", None), ("000001", None), ("~~~~", None), ("life 3", None), ("2026-99-99T00:00", None),
        ("019a0000-0000-4000-8000-000000000000", None), ("9" * 65, None), ("9" * 5000, None),
    ],
)  # fmt: skip
def test_forms(label: str, time: float | None) -> None:
    assert read_time(label) == (None if time is None else pytest.approx(time))


@pytest.mark.parametrize(
    "label", ["1795086500", "1795086500000", "9999-12-31T23:59:59Z", "ffffffff-ffff-7fff-bfff-ffffffffffff", "9" * 64]
)
def test_more_than_a_day_ahead_is_refused_by_name(label: str) -> None:
    violations: list[tuple[str, str]] = []
    check_incarnation(label, "added[0].incarnation", NOW, violations)
    assert [name for name, _ in violations] == ["added[0].incarnation"]
    assert "more than a day ahead" in violations[0][1]


def test_a_time_is_followed_by_times_only() -> None:
    violations: list[tuple[str, str]] = []
    for label in ("1795086399", "~~~~", "", "7"):
        check_incarnation(label, "x", NOW, violations)
    check_incarnation("1700000001", "x", NOW, violations, "1700000000")
    check_incarnation("0", "x", NOW, violations, "1700000000")
    assert violations == []
    check_incarnation("~~~~", "x", NOW, violations, "1700000000")
    assert violations == [("x", "must be a time like 1700000000, in which the peer is: else no later time counts")]
