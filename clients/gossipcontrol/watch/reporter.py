"""Delivers changes to the service, each once; while it is unreachable, the newest of each kind waits."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gossipcontrol.client.client import Client
from gossipcontrol.client.clock import boottime
from gossipcontrol.client.decision import NetworkChange, TriggerResult
from gossipcontrol.client.enumeration import Platform
from gossipcontrol.client.errors import ClientError, CredentialsError, OverloadedError, UnreachableError
from gossipcontrol.client.retry import reconnect_wait
from gossipcontrol.watch.change import Change, ChangeKind

PLATFORMS = {"linux": Platform.LINUX, "darwin": Platform.MACOS, "win32": Platform.WINDOWS}
SLEEP_SHELF_LIFE = 5.0
"""Seconds after which an undelivered announcement of a sleep is worth nothing."""
OLDEST = 30 * 24 * 3600.0
"""Highest age that the service accepts, in seconds; a report that waited for long must not be refused."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A change that the service has accepted."""

    change: Change
    result: TriggerResult
    seconds: float
    """From when the change was seen to the answer."""


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
        self._node_ids = tuple(node_ids)
        self._boot_id = boot_id
        self._on_delivery = on_delivery
        self._on_failure = on_failure
        self._on_refusal = on_refusal
        self._pending: dict[ChangeKind, tuple[Change, str]] = {}
        """With the request id, which stays the same however often it is sent."""
        self._woken = asyncio.Event()

    def report(self, change: Change) -> None:
        """Deliver a change; it replaces one of its kind that waits."""
        self._pending.pop(change.kind, None)
        if change.kind is ChangeKind.RESUMED:
            # After the sleep, its announcement would be wrong.
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
            except (UnreachableError, OverloadedError, CredentialsError) as error:  # files can be replaced
                self._on_failure(error)
                failures += 1
                await self._wait(max(reconnect_wait(failures), getattr(error, "retry_in", 0.0)))
            except ClientError as error:
                # The service refused the report: sending it again would change nothing.
                self._forget(change)
                self._on_refusal(change, error)

    async def _deliver(self, change: Change, request_id: str) -> None:
        age = boottime() - change.seen_at
        if change.kind is ChangeKind.SLEEPING and age > SLEEP_SHELF_LIFE:
            self._forget(change)
            return
        report = NetworkChange(
            request_id=request_id,
            host_id=self._host_id,
            node_ids=self._node_ids,
            kind=change.kind,
            boot_id=self._boot_id,
            generation=change.generation,
            platform=PLATFORMS.get(sys.platform),
            age=min(age, OLDEST),
            detail=change.detail,
            slept=min(change.slept, OLDEST),
        )
        result = await self._client.report_network_change(report)
        self._forget(change)
        self._on_delivery(Delivery(change, result, boottime() - change.seen_at))

    def _forget(self, change: Change) -> None:
        """Drop a change, unless a newer one has replaced it."""
        if self._pending.get(change.kind, (None,))[0] is change:
            del self._pending[change.kind]

    async def _wait(self, seconds: float) -> None:
        """Wait, but no longer than until the next change: the service may be reachable again."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return
