"""The QUIC endpoints of the reference node, on the ``iroh`` wheel 0.35."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from typing import cast

from gossipcontrol.iroh.sync import ALPN, SyncProtocol

import iroh

STOP_TIME = 3.0
"""Seconds that an endpoint has to stop."""
_STOPPED: deque[iroh.Iroh] = deque(maxlen=64)


async def make_endpoint(key: bytes, protocol: SyncProtocol) -> iroh.Iroh:
    """A new endpoint with this secret key that answers syncs; takes about 3 s where no relay can be reached."""
    options = iroh.NodeOptions(
        gc_interval_millis=0,
        node_discovery=iroh.NodeDiscoveryConfig.NONE,
        secret_key=key,
        protocols={ALPN: protocol},
    )
    return cast("iroh.Iroh", await iroh.Iroh.memory_with_options(options))  # pyright: ignore[reportUnknownMemberType]


async def stop_endpoint(node: iroh.Iroh) -> None:
    """Stop an endpoint, within three seconds.

    The wheel runs all endpoints of a process on one thread. If the last reference to one is dropped before its tasks
    have ended, its accept loop spins on that thread for ever and no endpoint of the process works any longer. So the
    last few are kept.
    """
    _STOPPED.append(node)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STOP_TIME):
            await node.node().shutdown()


async def add_address(node: iroh.Iroh, peer_id: str, addresses: Sequence[str]) -> None:
    """Add a peer's addresses to an endpoint; raises IrohError for a wrong key or address."""
    key = iroh.PublicKey.from_string(peer_id)
    await node.net().add_node_addr(iroh.NodeAddr(key, None, list(addresses)))


async def dialled_addresses(node: iroh.Iroh) -> dict[str, list[str]]:
    """Where an endpoint knows its peers to be, also those that dialled it; the address heard from last comes first."""
    found: dict[str, list[str]] = {}
    for peer in await node.net().remote_info_list():
        heard = [(one.last_payload(), one.addr()) for one in peer.addrs]
        alive = sorted((ago, address) for ago, address in heard if ago is not None)
        found[str(peer.node_id)] = [address for _, address in alive]
    return found


async def reaches_any(node: iroh.Iroh, peers: Sequence[iroh.NodeAddr], within: float) -> bool:
    """Whether a connection to any of these peers succeeds in so many seconds."""

    async def dial(peer: iroh.NodeAddr) -> bool:
        try:
            connection = await node.node().endpoint().connect(peer, ALPN)
        except iroh.IrohError:
            return False
        connection.close(0, b"reached")
        return True

    dials = {asyncio.ensure_future(dial(peer)) for peer in peers}
    try:
        async with asyncio.timeout(within):
            for dialled in asyncio.as_completed(dials):
                if await dialled:
                    return True
            return False
    except TimeoutError:
        return False
    finally:
        for one in dials:
            one.cancel()
        await asyncio.gather(*dials, return_exceptions=True)
