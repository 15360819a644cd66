"""Deadlines of parts that may have none."""

from __future__ import annotations


def earliest(*deadlines: float | None) -> float | None:
    """The soonest of some deadlines, of which any may be none."""
    soonest = None
    for one in deadlines:  # after every event, so it is a plain loop
        if one is not None and (soonest is None or one < soonest):
            soonest = one
    return soonest
