"""Deadlines of parts that may have none."""

from __future__ import annotations


def earliest(one: float | None, other: float | None) -> float | None:
    """The sooner of two deadlines, of which either may be none."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
