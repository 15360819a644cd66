"""The reference node on iroh-gossip; needs the extra ``gossipcontrol[iroh]``.

A name is imported when it is first used: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipcontrol.client.lazy import lazy_names

if TYPE_CHECKING:
    from gossipcontrol.iroh.key import KeyFileError, read_key
    from gossipcontrol.iroh.node import IrohNode
    from gossipcontrol.iroh.topic import GossipEvent
else:
    __getattr__, __dir__ = lazy_names(__name__, {
        "gossipcontrol.iroh.key": ("KeyFileError", "read_key"),
        "gossipcontrol.iroh.node": ("IrohNode",),
        "gossipcontrol.iroh.topic": ("GossipEvent",),
    })  # fmt: skip

__all__ = [
    "GossipEvent", "IrohNode", "KeyFileError", "read_key",
]  # fmt: skip
