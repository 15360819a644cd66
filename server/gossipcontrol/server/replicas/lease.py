"""Who owns the ledger: a register that its owner renews, and that others see unchanged on their own clocks.

The lease prevents duels; it is not what makes a stale owner harmless. That is the ledger, in which a new owner's first
entry, its claim, makes every append of an older one fail.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from gossipcontrol.server.state.journal import ClockReading
from gossipcontrol.server.state.ledger import Fenced, Late, Ledger, Register
from gossipcontrol.system.boot import boottime

REGISTER = "lease"
"""Name of the register."""
RENEW_INTERVAL = 0.4
"""Seconds between two renewals."""
LOOK_INTERVAL = 0.1
"""Seconds between two looks of a standby."""
UNSEEN_TIME = 1.5
"""Seconds without a renewal after which a standby takes over."""
OVERDUE_TIME = 0.6
"""Seconds without a renewal after which a standby tells clients when there may be another owner."""
START_TIME = 0.3
"""Seconds that an owner needs to serve, once it has the lease: one that was hot needs half of it."""
CALM_TIME = 0.8
"""Seconds for which etcd must have answered before: after an election its owner could not renew either."""
LOOK_GAP = 0.5
"""Seconds between two looks of a standby that has gone on all the time."""
SURE_TIME = 1.2
"""Seconds after a renewal for which nobody else can own the ledger; below UNSEEN_TIME, for clocks that differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the register says."""

    holder: str
    """A run of a replica."""
    address: str
    """Where clients reach it; empty: it does not say."""
    epoch: int
    at: float = 0.0
    """Service time of the renewal, 0.0 before the owner has one."""
    renewal: int = 0
    released: bool = False
    """Whether it has stopped, so that nobody needs to wait."""


def write_owner(owner: Owner) -> bytes:
    """The register's value."""
    return json.dumps(asdict(owner)).encode()


def read_owner(value: bytes) -> Owner | None:
    """The owner; None in a register that was never written. Raises ValueError or TypeError."""
    return Owner(**json.loads(value)) if value else None


class Sightings:
    """When a standby saw the register change, on its own clock."""

    def __init__(self) -> None:
        self._revision = -1
        self._since = 0.0
        self._calm_since: float | None = None
        self._looked_at = 0.0

    def see(self, register: Register, now: float) -> bool:
        """The register as it is now; returns whether its owner may be replaced."""
        # A standby that stood still itself knows as little as one that could not read.
        if self._calm_since is None or now - self._looked_at > LOOK_GAP:
            self._calm_since = now
        self._looked_at = now
        if register.revision != self._revision:
            self._revision, self._since = register.revision, now
        owner = read_owner(register.value)
        is_unseen = now - self._since >= UNSEEN_TIME and now - self._calm_since >= CALM_TIME
        return owner is None or owner.released or is_unseen

    def unseen(self, now: float) -> float:
        """Seconds since the register was seen to change."""
        return now - self._since

    def miss(self) -> None:
        """The register could not be read."""
        self._calm_since = None


class Lease:
    """One replica's part in it: first it waits for its turn, then it renews until it is released or lost."""

    def __init__(
        self,
        ledger: Ledger,
        holder: str,
        address: str,
        trouble: Callable[[str], None] = lambda why: None,
        *,
        now: Callable[[], float] = boottime,
    ) -> None:
        self.trouble = trouble
        """Told why the ledger cannot be asked, and the empty text when it can."""
        self.epoch = 0
        self.service_time: Callable[[], float] = lambda: 0.0
        """What the owner's renewals say of it."""
        self.owner: Owner | None = None
        """As last seen."""
        self._seen: tuple[float, float] | None = None
        """Service time of the last renewal that was seen to happen, and when that was on this replica's clock."""
        self._ledger = ledger
        self._mine = Owner(holder=holder, address=address, epoch=0)
        self._now = now
        self._sightings = Sightings()
        self._register: Register = Register(b"", 0)
        self._renewed_at = 0.0
        self._news = asyncio.Event()
        """A renewal, or the loss."""
        self._loss = ""
        self._renewing: asyncio.Task[None] | None = None

    # A standby.

    async def wait(self, changed: Callable[[], None] = lambda: None) -> None:
        """Return once this replica has the lease; ``changed`` is called when there is another owner."""
        while True:
            try:
                register = await self._ledger.register(REGISTER)
                may_take = self._sightings.see(register, self._now())
                self._note(register, changed)
                self.trouble("")
                if may_take and await self._take(register):
                    return
            except Late as error:
                self._sightings.miss()
                self.trouble(str(error))
            await asyncio.sleep(LOOK_INTERVAL)

    def due(self) -> float:
        """Seconds until another replica may serve, as this owner does not renew; 0.0: it does, or has let go."""
        if self.epoch:
            return max(0.0, START_TIME - (self._now() - self._renewed_at))
        unseen = self._sightings.unseen(self._now())
        if self.owner is None or self.owner.released or unseen < OVERDUE_TIME:
            return 0.0
        return max(0.0, UNSEEN_TIME - unseen) + START_TIME

    def reading(self, boot_id: str, wall: float, before: ClockReading | None) -> ClockReading | None:
        """How this replica's clocks stand to service time, as it saw the last owner's; None if it saw none renew.

        No wall clock, which may have been set, decides: the time since then is that of this boot's clock. Of this wall
        clock and of that of the owner ``before``, the one that is ahead counts once it does, as in ``ServiceClock``.
        """
        if self._seen is None:
            return None
        at, seen_at = self._seen
        offset = at + self._now() - seen_at - wall
        return ClockReading(boot_id, at - seen_at, min(offset, before.wall_offset) if before else offset)

    def _note(self, register: Register, changed: Callable[[], None]) -> None:
        if register.revision == self._register.revision:
            return
        before, self.owner = self.owner, read_owner(register.value)
        if self._register.revision and self.owner and self.owner.at:
            self._seen = (self.owner.at, self._now())
        self._register = register
        if self.owner and (before is None or before.epoch != self.owner.epoch):
            changed()

    async def _take(self, register: Register) -> bool:
        mine = replace(self._mine, epoch=self.owner.epoch + 1 if self.owner else 1)
        began_at = self._now()
        taken = await self._ledger.swap(REGISTER, write_owner(mine), register.revision)
        if taken is None:
            return False
        self._mine, self._register, self._renewed_at, self.epoch = mine, taken, began_at, mine.epoch
        return True

    # The owner.

    def start(self, lost: Callable[[str], None]) -> None:
        """Renew from now on; ``lost`` is told why it is another's."""
        self._renewing = asyncio.get_running_loop().create_task(self._renew(lost))

    def is_sure(self) -> bool:
        """Whether nobody else can own the ledger now."""
        return not self._loss and self._now() - self._renewed_at < SURE_TIME

    async def sure(self) -> None:
        """Return once nobody else can own the ledger; raises Fenced."""
        while not self.is_sure():
            if self._loss:
                raise Fenced(self._loss)
            self._news.clear()
            await self._news.wait()

    async def is_kept(self) -> bool:
        """Whether the register names this owner still; False also where it cannot be read."""
        try:
            owner = read_owner((await self._ledger.register(REGISTER)).value)
        except Late:
            return False
        return owner is not None and owner.epoch == self.epoch

    async def release(self) -> None:
        """Let a standby take over at once; raises Late."""
        await self._stop()
        if not self.epoch or self._loss:
            return
        register = await self._ledger.register(REGISTER)  # a renewal that was cut off may have been done
        owner = read_owner(register.value)
        if owner and owner.epoch == self.epoch:
            await self._ledger.swap(REGISTER, self._next(released=True), register.revision)

    async def close(self) -> None:
        """Renew no more."""
        await self._stop()

    async def _stop(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
            self._renewing = None

    async def _renew(self, lost: Callable[[str], None]) -> None:
        value = b""
        while True:
            began_at = self._now()
            value = value or self._next()
            try:
                renewed = await self._ledger.swap(REGISTER, value, self._register.revision)
            except Late as error:
                self.trouble(str(error))
                await asyncio.sleep(LOOK_INTERVAL)
                continue  # the same is tried again, for it may have been done
            if renewed is None:
                await self._lose(lost)
                return
            self.trouble("")
            self._register, self._renewed_at, value = renewed, began_at, b""
            self._news.set()
            await asyncio.sleep(max(0.0, RENEW_INTERVAL - (self._now() - began_at)))

    async def _lose(self, lost: Callable[[str], None]) -> None:
        self._loss = "another replica has taken over"
        self._news.set()
        try:
            self.owner = read_owner((await self._ledger.register(REGISTER)).value)
        except Late:
            self.owner = None
        if self.owner and self.owner.address:
            self._loss = f"the replica at {self.owner.address} has taken over"
        lost(self._loss)

    def _next(self, *, released: bool = False) -> bytes:
        self._mine = replace(self._mine, renewal=self._mine.renewal + 1, at=self.service_time(), released=released)
        return write_owner(self._mine)
