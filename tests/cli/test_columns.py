"""Columns on terminals of any width: every column stays, ids are cut at their end, sentences are whole."""

from __future__ import annotations

import io
import re

import pytest
from gossipcontrol.cli.columns import Columns
from gossipcontrol.cli.top_command import HEADS, NARROW_HEADS, WIDE
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

NODE, STORE = "0123456789abcdef" * 4, "fedcba9876543210" * 4
REJOIN = "a1b2c3d4-140"
WHY = "waits for the window: this node rejoined this store less than one window ago"
TABLES = {
    "decisions": (("NODE", "STORE", "DECISION", "REJOIN", "WHY"), (NODE, STORE, "scheduled", REJOIN, WHY)),
    "rejoins": (
        ("REJOIN", "WHEN", "NODE", "STORE", "CAUSES", "OUTCOME", "AFTER", "TRIES", "DETAIL"),
        (REJOIN, "12.3 s ago", NODE, STORE, "network-change (3)", "unverified", "1234 ms", "3", WHY),
    ),
    "stores": (
        ("STORE", "PEERS", "LAST REJOIN", "NODE", "ATTACHED", "NEIGHBOURS", "LAST REPORT"),
        (STORE, "1000", "12.3 s ago", NODE, "yes", "5", "59.9 s ago"),
    ),
    "peers": (("PEER", "STATE", "HEARD", "OBSERVERS"), (NODE, "online", "12.3 s ago", "12")),
}


def printed(rows: Columns, width: int | None) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=width or rows.full_width(), markup=False, highlight=False)
    console.print(rows.render(width))
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", TABLES)
def test_every_column_and_every_sentence_is_there(name: str, width: int) -> None:
    """ing-bank/doing-cli#69, sdebruyn/fabric-dw-mcp-cli#427: long ids ate the columns beside them."""
    heads, cells = TABLES[name]
    rows = Columns(*heads)
    rows.add_row(*cells)
    lines = printed(rows, width)
    text = " ".join(" ".join(lines).split())
    assert max(map(len, lines)) <= width
    assert all(word in text for head in heads for word in head.split())
    for cell in cells:
        if cell in (NODE, STORE):
            assert re.search(f"{cell[:4]}[0-9a-f]*(…|$| )", text), "an id is cut at its end"
        elif cell == REJOIN:
            assert cell in text, "an id that is copied stays whole"
        elif cell != WHY and cell.endswith(" ago") and width >= 80:
            assert any(cell in line for line in lines), "a time and its unit stay on one line"
        elif cell.replace("-", "").isalpha():
            assert cell in text, "a word is not torn"
    if WHY in cells:
        words = [word for line in lines for word in line.split()]
        assert [word for word in words if word in WHY.split()][-len(WHY.split()) :] == WHY.split()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_top_keeps_every_column(width: int) -> None:
    heads = HEADS if width >= WIDE else NARROW_HEADS
    rows = Columns(*heads)
    rows.add_row(STORE[:12] + "…", "10/12", "999", "12", "3", "0", "12.3 s", "100", "3", "12", "split")
    lines = printed(rows, width)
    assert lines[0].split() == [head for head in heads if head]
    assert "split" in lines[1]


def test_in_a_pipe_nothing_is_cut() -> None:
    heads, cells = TABLES["rejoins"]
    rows = Columns(*heads)
    rows.add_row(*cells)
    head, line = printed(rows, None)
    assert head.split() == " ".join(heads).split()
    assert all(cell in line for cell in cells)


cells = st.text(st.characters(codec="utf-8"), max_size=70)
some_heads = st.sampled_from(["NODE", "STORE", "WHEN", "REJOIN", "WHY", "X"])


@given(
    heads=st.lists(
        st.sampled_from(["NODE", "STORE", "WHEN", "REJOIN", "WHY", "X"]), min_size=1, max_size=9, unique=True
    ),
    rows=st.lists(st.lists(cells, max_size=1), max_size=4),
    width=st.integers(60, 200),
)
def test_no_line_is_wider_than_the_terminal(heads: list[str], rows: list[list[str]], width: int) -> None:
    columns = Columns(*heads)
    for row in rows:
        columns.add_row(*row * len(heads))
    assert all(line.isprintable() for line in printed(columns, width))
