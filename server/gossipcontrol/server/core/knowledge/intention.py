"""One intention: a link of its author's chain, and proof of what the author had seen."""

from __future__ import annotations

from typing import NamedTuple


class Intention(NamedTuple):
    """As recorded; a named tuple, for one is made per intention. The hash names the content: it is not checked."""

    author_id: str
    hash: bytes
    store_prev: bytes = b""
    """Hash of the author's previous intention; empty for the first of a chain."""
    dependencies: tuple[bytes, ...] = ()
    acknowledgement: bool = False
    """Whether it is bare proof, without content."""
    incarnation: str = ""
    """The author's life since it last lost its data; the greatest string is the newest life."""
