"""The QUIC endpoints of the reference node, on the ``iroh`` wheel 0.35."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import cast

from gossipcontrol.iroh.deaf import deafen
from gossipcontrol.iroh.host_addresses import bound_ports
from gossipcontrol.iroh.sync import ALPN, SyncProtocol

import iroh

STOP_TIME = 3.0
"""Seconds that a caller waits for an endpoint to stop."""
ASK_TIME = 0.5
"""Seconds that an endpoint has to say where it is bound, before it is stopped."""
TRUSTED_FOR = timedelta(seconds=12)
"""Silence on a path after which iroh trusts it no longer: 6.5 s, and up to 5 s until the next heartbeat."""
_STOPPED: deque[iroh.Iroh] = deque(maxlen=64)
_STOPPING: set[asyncio.Future[None]] = set()


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
    """Stop an endpoint; returns after three seconds even if it has not stopped by then.

    It must stop in the end, so the work is never cancelled. Until it has stopped, which may take half a minute, its
    socket would answer the peers' pings with the key of the node, and they would send there what they have to say to
    the node's next endpoint. So it receives nothing more from the first moment on.

    The wheel runs all endpoints of a process on one thread. If the last reference to one is dropped before its tasks
    have ended, its accept loop spins on that thread for ever and no endpoint of the process works any longer. So the
    last few are kept.
    """
    _STOPPED.append(node)
    _STOPPING.add(stopping := asyncio.ensure_future(_stop(node)))
    stopping.add_done_callback(_STOPPING.discard)
    await asyncio.wait((stopping,), timeout=STOP_TIME)


async def _stop(node: iroh.Iroh) -> None:
    with contextlib.suppress(iroh.IrohError, TimeoutError):
        async with asyncio.timeout(ASK_TIME):
            deafen(bound_ports((await node.net().node_addr()).direct_addresses()))
    with contextlib.suppress(iroh.IrohError):
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


async def silent_paths(node: iroh.Iroh) -> set[str]:
    """The peers to which an endpoint sends on a path that was silent for long, although its last ping was answered.

    If that lasts longer than a ping may take (5 s), iroh 0.35 never pings there again, nor anywhere else. When a path
    fails, it chooses one that once answered, trusts that for an hour from then, and pings no other (``udp_paths.rs``,
    ``Source::BestCandidate``). A path that failed in the usual way has no latency.
    """
    found: set[str] = set()
    for peer in await node.net().remote_info_list():
        if peer.conn_type.type() is not iroh.ConnType.DIRECT:
            continue
        sent_to = peer.conn_type.as_direct()
        for path in peer.addrs:
            if path.addr() == sent_to and path.latency() is not None and _silence(path) > TRUSTED_FOR:
                found.add(str(peer.node_id))
    return found


def _silence(path: iroh.DirectAddrInfo) -> timedelta:
    """How long nothing came from there."""
    control, payload = path.last_control(), path.last_payload()
    return min(timedelta.max if control is None else control.latency, timedelta.max if payload is None else payload)


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
