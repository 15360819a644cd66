"""Delivers changes to the service, each once; while it is unreachable the newest of each kind waits."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossipcontrol.client.client import Client
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.errors import ClientError, OverloadedError, UnreachableError
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.v1 import gossip_control_pb2
from gossipcontrol.watch.change import Change, ChangeKind

KINDS = {
    ChangeKind.CHANGED: gossip_control_pb2.NETWORK_CHANGE_KIND_CHANGED,
    ChangeKind.RESUMED: gossip_control_pb2.NETWORK_CHANGE_KIND_RESUMED,
    ChangeKind.SLEEPING: gossip_control_pb2.NETWORK_CHANGE_KIND_SLEEPING,
}
PLATFORMS = {
    "linux": gossip_control_pb2.PLATFORM_LINUX,
    "darwin": gossip_control_pb2.PLATFORM_MACOS,
    "win32": gossip_control_pb2.PLATFORM_WINDOWS,
}
SLEEP_SHELF_LIFE = 5.0
"""Seconds after which an undelivered announcement of a sleep is worth nothing."""
OLDEST_MS = 30 * 24 * 3600 * 1000
"""The highest age that the service takes, in milliseconds; a report must not be refused for having waited long."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A change that the service has taken."""

    change: Change
    response: gossip_control_pb2.ReportNetworkChangeResponse
    seconds: float
    """From the sight of the change to the answer."""


class Reporter:
    """Call ``report`` with each change, and let ``run`` deliver them."""

    def __init__(
        self,
        client: Client,
        *,
        host_id: str,
        boot_id: str,
        node_ids: Sequence[str] = (),
        on_delivery: Callable[[Delivery], None] = lambda delivery: None,
        on_failure: Callable[[ClientError], None] = lambda error: None,
        on_refusal: Callable[[Change, ClientError], None] = lambda change, error: None,
    ) -> None:
        self._client = client
        self._host_id = "" if node_ids else host_id
        self._node_ids = node_ids
        self._boot_id = boot_id
        self._on_delivery = on_delivery
        self._on_failure = on_failure
        self._on_refusal = on_refusal
        self._pending: dict[ChangeKind, tuple[Change, str]] = {}
        """With the request id, which stays the same however often it is sent."""
        self._woken = asyncio.Event()

    def report(self, change: Change) -> None:
        """Deliver a change; it takes the place of one of its kind that waits."""
        self._pending.pop(change.kind, None)
        if change.kind is ChangeKind.RESUMED:
            # Told after the sleep, its announcement would be a lie.
            self._pending.pop(ChangeKind.SLEEPING, None)
        self._pending[change.kind] = (change, str(uuid.uuid4()))
        self._woken.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        failures = 0
        while True:
            self._woken.clear()
            if not self._pending:
                await self._woken.wait()
                continue
            change, request_id = next(iter(self._pending.values()))
            try:
                await self._deliver(change, request_id)
                failures = 0
            except (UnreachableError, OverloadedError) as error:
                self._on_failure(error)
                failures += 1
                await self._pause(max(reconnect_wait(failures), getattr(error, "retry_in", 0.0)))
            except ClientError as error:
                # The service understands the report and refuses it: sending it again would change nothing.
                self._forget(change)
                self._on_refusal(change, error)

    async def _deliver(self, change: Change, request_id: str) -> None:
        age = boottime() - change.seen_at
        if change.kind is ChangeKind.SLEEPING and age > SLEEP_SHELF_LIFE:
            self._forget(change)
            return
        request = gossip_control_pb2.ReportNetworkChangeRequest(
            request_id=request_id,
            host_id=self._host_id,
            node_ids=self._node_ids,
            kind=KINDS[change.kind],
            boot_id=self._boot_id,
            generation=change.generation,
            platform=PLATFORMS.get(sys.platform, gossip_control_pb2.PLATFORM_UNSPECIFIED),
            age_ms=min(int(age * 1000), OLDEST_MS),
            detail=change.detail,
        )
        response = await self._client.report_network_change(request)
        self._forget(change)
        self._on_delivery(Delivery(change, response, boottime() - change.seen_at))

    def _forget(self, change: Change) -> None:
        """Drop a change, unless a newer one has taken its place."""
        if self._pending.get(change.kind, (None,))[0] is change:
            del self._pending[change.kind]

    async def _pause(self, seconds: float) -> None:
        """Wait, but no longer than until the next change: the way to the service may be free again."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
