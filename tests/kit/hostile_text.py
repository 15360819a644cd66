"""Ids and details as a stranger may choose them."""

from __future__ import annotations

HOSTILE = {
    "title": "evil\x1b]0;pwned\x07\x1b[2J",
    "forged line": 'x\rtimestamp=2026-01-01T00:00:00.000000Z level=error event="forged"',
    "newline": "a\nlevel=error event=forged",
    "C1": "a\x9b31mred\x9d0;title\x9c",
    "bell": "ding\x07\x08\x08\x08",
    "bidi": "abc\u202egpj.exe\u2066\u2069",
    "separators": "one\u2028two\u2029three\x85four",
    "zero width": "pay\u200bpal\ufeff",
    "tab": "a\tb",
    "delete": "a\x7fb",
    "tag": "a\U000e0041b",
    "private": "a\ue000b",
}
"""By what is in it; every one has at least one character that must not be shown raw."""
RAW = frozenset("\x1b\r\x07\x08\x0b\x0c\x7f\x9b\x9c\x9d\x85\u202e\u2066\u2069\u2028\u2029\u200b\ufeff\ue000\U000e0041")
"""What no output may hold; newlines and tabs aside, which outputs have of their own."""


def raw_characters(text: str) -> set[str]:
    """The characters of a text that should have been escaped."""
    return {one for one in text if one in RAW or (not one.isprintable() and one not in "\n\t")}
