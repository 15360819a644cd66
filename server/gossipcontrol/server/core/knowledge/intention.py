"""An intention: a link of its author's hash chain, and proof of what the author had seen."""

from __future__ import annotations

from typing import NamedTuple


class Intention(NamedTuple):
    """An intention as recorded (a named tuple is the cheapest to make). Its hash is opaque and not checked."""

    author_id: str
    hash: bytes
    store_prev: bytes = b""
    """Hash of the author's previous intention; empty for the first of a chain."""
    dependencies: tuple[bytes, ...] = ()
    acknowledgement: bool = False
    """Whether it is a bare proof without content."""
    incarnation: str = ""
    """The author's incarnation: a new one starts with each loss of its data, and the greatest string is the newest."""
