"""What an owner does whose lease has lapsed: it says that it does not serve, and sends away who keeps to it.

Calls are refused one by one. Streams would stay for as long as they are open, though another replica serves by now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gossipcontrol.server.replicas.lease import Lease

LOOK_INTERVAL = 0.2
"""Seconds between two looks at the lease."""


async def watch_lapses(lease: Lease, changed: Callable[[], None], send_away: Callable[[], None]) -> None:
    """Watch the lease of an owner until this is cancelled.

    ``changed`` is called whenever it becomes sure or unsure; ``send_away`` in a lapse, again and again, while etcd does
    not say that the lease is still this owner's. A short election, and a full etcd, which lets nobody take over, end no
    streams.
    """
    was_sure = True
    while True:
        if lease.is_sure() != was_sure:
            was_sure = not was_sure
            changed()
        if not was_sure and not await lease.is_kept() and not lease.is_sure():
            send_away()
        await asyncio.sleep(LOOK_INTERVAL)
