"""Watchers: what shows that a host's network changed, or that the host slept.

A name is imported when it is first used: importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gossipcontrol.client.lazy import lazy_names

if TYPE_CHECKING:
    from gossipcontrol.client.enumeration import ChangeKind
    from gossipcontrol.watch.change import Address, Change, Link, Route, Snapshot
    from gossipcontrol.watch.fingerprint import Fingerprint
    from gossipcontrol.watch.host import boot_id, host_id
    from gossipcontrol.watch.reporter import Delivery, Reporter
    from gossipcontrol.watch.scope import Filter, Scope
    from gossipcontrol.watch.source import NetworkSource, PowerSource
    from gossipcontrol.watch.watcher import Watcher, make_watcher
else:
    __getattr__, __dir__ = lazy_names(__name__, {
        "gossipcontrol.client.enumeration": ("ChangeKind",),
        "gossipcontrol.watch.change": ("Address", "Change", "Link", "Route", "Snapshot"),
        "gossipcontrol.watch.fingerprint": ("Fingerprint",),
        "gossipcontrol.watch.host": ("boot_id", "host_id"),
        "gossipcontrol.watch.reporter": ("Delivery", "Reporter"),
        "gossipcontrol.watch.scope": ("Filter", "Scope"),
        "gossipcontrol.watch.source": ("NetworkSource", "PowerSource"),
        "gossipcontrol.watch.watcher": ("Watcher", "make_watcher"),
    })  # fmt: skip

__all__ = [
    "Address", "Change", "ChangeKind", "Delivery", "Filter", "Fingerprint", "Link", "NetworkSource", "PowerSource",
    "Reporter", "Route", "Scope", "Snapshot", "Watcher", "boot_id", "host_id", "make_watcher",
]  # fmt: skip
