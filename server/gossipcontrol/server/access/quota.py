"""What each identity has and uses now, within its limits, so that one leaves room for the others."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace

from gossipcontrol.server.access.identity import LOCAL, Identity
from gossipcontrol.server.access.identity_limits import IdentityLimits
from gossipcontrol.server.errors import Overloaded
from gossipcontrol.server.runtime.turns import current_call

BURST = 10.0
"""Seconds of a rate that may come at once."""
LEAST_WAIT = 0.01
PLACE_RETRY = 5.0
"""Seconds after which a place may be free: a guess, for calls and parked rejoins last as long as they last."""
MOST_IDENTITIES = 10_000
"""Identities of which use is remembered; beyond it the one without streams that was seen longest ago is forgotten."""

OnLimited = Callable[[str], None]
"""Gets the name of a limit that held something up."""
IsKnown = Callable[[str], bool]


class _Rate:
    """A bucket that holds ``BURST`` seconds of a rate; what is taken may overdraw it once."""

    __slots__ = ("_at", "_spent")

    def __init__(self, now: float) -> None:
        self._spent = 0.0
        """What of the bucket is gone."""
        self._at = now

    def wait(self, rate: float, now: float) -> float:
        """Seconds until something may be taken."""
        self._spent = max(0.0, self._spent - (now - self._at) * rate)
        self._at = now
        over = self._spent - rate * BURST
        return 0.0 if over < 0 else max(LEAST_WAIT, over / rate)

    def take(self, amount: float) -> None:
        """Take as much; ``wait`` must have been asked before."""
        self._spent += amount


class Quota:
    """The use of one identity. ``limits`` may be replaced."""

    def __init__(self, name: str, limits: IdentityLimits, on_limited: OnLimited, clock: Callable[[], float]) -> None:
        self.limits = limits
        self._name = name
        self._on_limited = on_limited
        self._clock = clock
        self._held: Counter[str] = Counter()
        now = clock()
        self._requests, self._bytes = _Rate(now), _Rate(now)
        self._stores: set[str] = set()
        self._parked: set[str] = set()

    @property
    def is_idle(self) -> bool:
        """Whether no stream is open."""
        return not self._held.total()

    @contextmanager
    def hold(self, limit: str) -> Generator[None]:
        """Have one more of what this limit counts; raises Overloaded."""
        most: int = getattr(self.limits, limit)
        if self._held[limit] >= most:
            raise self._refusal(limit, most, PLACE_RETRY)
        self._held[limit] += 1
        try:
            yield
        finally:
            self._held[limit] -= 1

    def charge(self, size: int) -> None:
        """Count one request of so many bytes; raises Overloaded when too many came."""
        now = self._clock()
        for limit, rate in (("requests", self._requests), ("bytes", self._bytes)):
            most: int = getattr(self.limits, limit)
            if wait := rate.wait(most, now):
                raise self._refusal(limit, most, wait, " per second")
        self._requests.take(1)
        self._bytes.take(size)

    async def pace(self, size: int) -> None:
        """Count one message of a stream; returns when it may be read, so that the stream's own flow control waits."""
        is_first = True
        while True:
            now = self._clock()
            waits = {"requests": self._requests.wait(self.limits.requests, now)}
            waits["bytes"] = self._bytes.wait(self.limits.bytes, now)
            longest = max(waits, key=lambda limit: waits[limit])
            if not waits[longest]:
                break
            if is_first:
                self._on_limited(longest)
                is_first = False
            await asyncio.sleep(waits[longest])
        self._requests.take(1)
        self._bytes.take(size)

    def name_stores(self, store_ids: Iterable[str], is_known: IsKnown) -> None:
        """Count stores that a request names; raises Overloaded. Stores that are no more known do not count."""
        new = {one for one in store_ids if one and one not in self._stores}
        if not new:
            return
        most = self.limits.stores
        if len(self._stores) + len(new) > most:
            self._stores = {one for one in self._stores if is_known(one)}
            if len(self._stores) + len(new) > most:
                raise self._refusal("stores", most, PLACE_RETRY)
        self._stores |= new

    def check_parked(self, is_parked: IsKnown) -> None:
        """Raise Overloaded if it has as many parked rejoins as it may."""
        most = self.limits.parked
        if len(self._parked) >= most:
            self._parked = {one for one in self._parked if is_parked(one)}
            if len(self._parked) >= most:
                raise self._refusal("parked", most, PLACE_RETRY)

    def note_parked(self, rejoin_ids: Iterable[str]) -> None:
        """Remember rejoins that were parked because it asked."""
        self._parked.update(rejoin_ids)

    def _refusal(self, limit: str, most: int, retry_in: float, unit: str = "") -> Overloaded:
        self._on_limited(limit)
        return Overloaded(f"the limit {limit} of {self._name} is reached: {most}{unit}", retry_in)


class Quotas:
    """The use of all identities. Runs in one event loop; ``clock`` counts seconds."""

    def __init__(
        self, defaults: IdentityLimits, on_limited: OnLimited, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.defaults = defaults
        self.is_store: IsKnown = lambda store_id: True
        """Whether the service knows a store."""
        self.is_parked: IsKnown = lambda rejoin_id: True
        """Whether a rejoin is parked."""
        self._on_limited = on_limited
        self._clock = clock
        self._quotas: OrderedDict[str, Quota] = OrderedDict()
        """By name of the identity, the one seen longest ago first."""

    def __len__(self) -> int:
        return len(self._quotas)

    def of(self, identity: Identity) -> Quota | None:
        """That of an identity; None: it has no limits."""
        if identity is LOCAL:
            return None
        limits = replace(self.defaults, **dict(identity.limits)) if identity.limits else self.defaults
        quota = self._quotas.get(identity.name)
        if quota is None:
            self._forget()
            quota = self._quotas[identity.name] = Quota(identity.name, limits, self._on_limited, self._clock)
        quota.limits = limits
        self._quotas.move_to_end(identity.name)
        return quota

    def of_current_call(self) -> Quota | None:
        """That of whose call runs now."""
        call = current_call()
        return None if call is None else self._quotas.get(call.identity)

    def _forget(self) -> None:
        if len(self._quotas) < MOST_IDENTITIES:
            return
        name = next((name for name, quota in self._quotas.items() if quota.is_idle), None)
        if name is not None:
            del self._quotas[name]
