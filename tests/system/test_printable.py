"""Text of strangers never reaches a terminal or a log raw."""

from __future__ import annotations

import json
import unicodedata

from gossipcontrol.system.printable import printable
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.hostile_text import HOSTILE


@given(st.text())
def test_nothing_but_what_can_be_read_comes_through(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert all(unicodedata.category(one)[0] != "C" for one in shown)


@given(st.text(st.characters(exclude_characters='"\\')))
def test_what_was_escaped_can_be_read_back_as_json(text: str) -> None:
    read = json.loads(f'"{printable(text)}"')
    assert read == text or "\ud800" <= max(text) <= "\udfff" or any("\ud800" <= one <= "\udfff" for one in text)


@given(st.text())
def test_once_is_enough(text: str) -> None:
    assert printable(printable(text)) == printable(text)


def test_what_can_be_read_stays_as_it_is() -> None:
    for text in ("node-1", "Grüße an 東京", "a\\b", "[red]", '"quoted"', "🙂"):
        assert printable(text) == text


def test_the_corpus_is_hostile() -> None:
    """boxdot/gurk-rs#384, solana-labs/solana#20495: control characters of others reached the terminal."""
    assert all(printable(text) != text for text in HOSTILE.values())
    assert printable(HOSTILE["title"]) == "evil\\u001b]0;pwned\\u0007\\u001b[2J"
    assert printable(HOSTILE["tag"]) == "a\\udb40\\udc41b"
