"""Heartbeats: what two nodes compare in a sync, and what comes in that is none."""

from __future__ import annotations

import json
import re

import pytest
from gossipcontrol.iroh.heartbeat import AUTHORS, HIGHEST, Heartbeat, Newest, Position, parse, positions
from hypothesis import given
from hypothesis import strategies as st

KEY = "0123456789abcdef" * 4
WHOLE = st.integers(min_value=0, max_value=HIGHEST - 1)
KNOWN = st.dictionaries(st.sampled_from("abcdef"), st.tuples(WHOLE, WHOLE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(KEY),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["author", "life", "count", KEY]), inner)
    ),
)


def made_of(known: dict[str, Position]) -> Newest:
    newest = Newest()
    newest.merge(known)
    return newest


def test_a_message_says_who_and_which() -> None:
    beat = Heartbeat(KEY, 1_700_000_000_000, 7)
    assert parse(beat.message()) == parse(beat.message(900)) == beat
    assert len(beat.message(900)) == 900


@given(JSON)
def test_whatever_comes_is_a_heartbeat_or_none(content: object) -> None:
    beat = parse(json.dumps(content).encode())
    assert beat is None or (
        re.fullmatch("[0-9a-f]{64}", beat.author) and 0 <= beat.life < HIGHEST and 0 <= beat.number < HIGHEST
    )


@given(st.binary())
def test_no_bytes_raise(message: bytes) -> None:
    assert parse(message) is None or json.loads(message)["author"]


NO_KEYS = [
    "",
    "alice",
    KEY[1:],
    f"{KEY}0",
    f"{KEY}\n",
    KEY.upper(),
    f"{KEY[1:]}g",
    "\u00e9" * 64,
    "\u0661" * 64,
    "\ud800",
]
"""Authors that no node has, though each is a string."""


@pytest.mark.parametrize("author", NO_KEYS, ids=ascii)
def test_only_a_key_is_an_author(author: str) -> None:
    assert parse(Heartbeat(author, 1, 1).message()) is None
    with pytest.raises(ValueError, match="the author of a heartbeat must be a key"):
        positions({KEY: [1, 1], author: [1, 1]})


@given(KNOWN, KNOWN)
def test_both_know_the_same_after_an_exchange_and_nothing_older(
    one: dict[str, Position], two: dict[str, Position]
) -> None:
    here, there = made_of(one), made_of(two)
    there.merge(here.known())
    here.merge(there.known())
    assert here.known() == there.known()
    assert here.known() == {
        author: max(one.get(author, (-1, -1)), two.get(author, (-1, -1))) for author in {*one, *two}
    }


def test_a_new_life_is_newer_whatever_its_number() -> None:
    newest = Newest()
    assert [newest.learn("a", at) for at in ((1, 9), (2, 1), (1, 10), (2, 1), (2, 2))] == [
        True,
        True,
        False,
        False,
        True,
    ]


def test_the_author_longest_silent_goes_first() -> None:
    newest = Newest()
    for number in range(AUTHORS):
        newest.learn(f"a{number}", (1, 1))
    newest.learn("a0", (1, 2))
    newest.learn("new", (1, 1))
    assert len(newest.known()) == AUTHORS
    assert {"a0", "new"} <= newest.known().keys()
    assert "a1" not in newest.known()


@pytest.mark.parametrize(
    "content",
    [None, [], {KEY: None}, {KEY: [1]}, {KEY: [1, -1]}, {KEY: [True, 1]}, {KEY: [1, 2.0]}, {KEY: [1, HIGHEST]},
     {f"{number:064x}": [1, 1] for number in range(AUTHORS + 1)}],
)  # fmt: skip
def test_broken_positions_are_refused(content: object) -> None:
    with pytest.raises(ValueError, match="heartbeat"):
        positions(content)


@given(JSON)
def test_what_is_accepted_as_positions_keeps_the_bounds(content: object) -> None:
    try:
        taken = positions(content)
    except ValueError:
        return
    assert all(0 <= life < HIGHEST and 0 <= number < HIGHEST for life, number in taken.values())
