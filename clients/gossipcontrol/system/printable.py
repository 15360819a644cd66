"""Text from outside, made safe for terminals and logs: the one place that says which characters may pass."""

from __future__ import annotations

import re

# Python's own rule (str.isprintable): no control, format (bidi), surrogate, private or unassigned character, and no
# separator but the space. In UTF-8 mode a terminal obeys C1 controls as it obeys ESC.
_ASCII = re.compile(r"[ -~]*").fullmatch
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""The text with every character that is not for reading escaped as in JSON: ESC is ``\u001b``, a newline ``\n``.

    Ids, details and errors come from other machines: raw, they could move the cursor, set the window's title, hide
    what follows or look like a further line. A backslash stays as it is, so that an id can be copied.
    """
    if _ASCII(text) or text.isprintable():
        return text
    return "".join([one if one.isprintable() else _escaped(one) for one in text])


def _escaped(character: str) -> str:
    number = ord(character)
    if number > 0xFFFF:
        number -= 0x10000
        return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
    return _SHORT.get(character) or f"\\u{number:04x}"
