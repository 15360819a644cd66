"""Whose turn it is in the event loop: long work goes one slice per pass, and is charged to who asked for it.

Each connection has an account of seconds. One that is overdrawn waits for all others; it gets what they leave.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Self, TypeVar

from gossipcontrol.server.runtime.arrivals import Arrivals

SHARE = 0.25
"""Seconds of work per second that an account gains."""
BURST = 0.5
"""Seconds of work that it holds at most, and by which it can be overdrawn."""
PASS_TIME = 0.005
"""Seconds of work in one pass of the event loop after which further calls wait for the next pass."""
SLICE_TIME = 0.004
"""Seconds of work in one pass after which a long call waits for a later pass."""
LEAST_SLICE = 0.001
"""Seconds that a long call has in a pass, however much others did before it."""
STARTS = 3
"""Calls that begin for each slice of a call under way, while both wait."""
ROOM = 0.002
"""Seconds of work in one pass after which what streams bring waits for the next. A new call takes about four passes
until it begins, because gRPC hands over one event after the other."""
MOST_STARTS = 20
"""Calls that begin in one pass at most: one for each two PASS_TIMEs of work in the last one, if others make it long."""
WEIGHT = 0.2
"""Of the newest pass in the average of how long a frame took."""
LEAST_FRAME = 0.0001
"""Seconds that one is taken to need at least."""
PASSES_OVER = 20
"""Most passes in which others leave no time for those who are overdrawn before one of these has its turn anyway."""
CALLS_TIME = 0.001
"""Seconds of work in one pass after which a tick or housekeeping waits for the next pass."""
PUT_OFF = 3
"""Most passes by which it waits."""
LOCAL_PEER = "unix:"
"""What gRPC calls every client on the Unix socket: who shares it cannot be told apart, so each call has an account."""

T = TypeVar("T")


class Account:
    """The time that one connection, or one call over the Unix socket, may take."""

    __slots__ = ("_at", "_balance", "calls")

    def __init__(self, now: float) -> None:
        self.calls = 0
        """Calls under way."""
        self._balance, self._at = BURST, now

    def balance(self, now: float) -> float:
        """Seconds that it may still take; negative when it is overdrawn."""
        self._balance = min(BURST, self._balance + (now - self._at) * SHARE)
        self._at = now
        return self._balance

    def charge(self, seconds: float, now: float) -> None:
        """Take seconds of work."""
        self._balance = max(-BURST, self.balance(now) - seconds)


class _Queue:
    """Those who wait, in turn by account."""

    def __init__(self) -> None:
        self.waiting: OrderedDict[Account, deque[asyncio.Future[None]]] = OrderedDict()

    def add(self, account: Account) -> asyncio.Future[None]:
        """Wait for a turn."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.setdefault(account, deque()).append(waiter)
        return waiter

    def release(self, now: float, *, overdrawn: bool) -> bool:
        """Give the next one its turn, of those whose accounts are overdrawn or of the others; False: there is none."""
        account = self._next(now, overdrawn=overdrawn)
        if account is None:
            return False
        waiters = self.waiting.pop(account)
        waiters.popleft().set_result(None)
        if waiters:
            self.waiting[account] = waiters
        return True

    def _next(self, now: float, *, overdrawn: bool) -> Account | None:
        """Whose turn it is; no account is looked at behind it, for ten thousand may wait."""
        found, cancelled = None, list[Account]()
        for account, waiters in self.waiting.items():
            while waiters and waiters[0].done():
                waiters.popleft()
            if not waiters:
                cancelled.append(account)
            elif (account.balance(now) < 0) is overdrawn:
                found = account
                break
        for account in cancelled:
            del self.waiting[account]
        return found


class Turns:
    """The accounts, and who waits. Runs in one event loop; ``clock`` counts seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._accounts: OrderedDict[str, Account] = OrderedDict()
        """By connection, the one used longest ago first."""
        self._starting, self._going_on, self._frames = _Queue(), _Queue(), _Queue()
        self._used = 0.0
        """Seconds of work in this pass."""
        self.arrivals = Arrivals()
        self._armed = False
        self._started = 0
        """Calls that began since a slice of one under way had its turn."""
        self._passed_over = 0
        """Passes in which the overdrawn had no turn."""
        self._released = 0
        """Frames that were given their turn in this pass."""
        self._frame_time = ROOM
        """Seconds that one of them took lately."""

    @property
    def accounts(self) -> int:
        """How many there are. Not ``__len__``: one without accounts counts as given where ``turns or Turns()`` is."""
        return len(self._accounts)

    def balance(self, peer: str) -> float:
        """Seconds that a connection may still take; negative when it is overdrawn."""
        account = self._accounts.get(peer)
        return BURST if account is None else account.balance(self.clock())

    def call(self, peer: str, identity: str = "") -> Call:
        """A call of this connection, charged to it, or to the identity whose it is (empty: everybody's).

        It is under way within its ``with``.
        """
        now = self.clock()
        return Call(self, self._account(identity or peer, now), peer, identity, now)

    def _account(self, peer: str, now: float) -> Account:
        if peer.startswith(LOCAL_PEER) or not peer:
            return Account(now)
        account = self._accounts.get(peer)
        if account is None:
            self._forget(now)
            account = self._accounts[peer] = Account(now)
        else:
            self._accounts.move_to_end(peer)
        return account

    def _forget(self, now: float) -> None:
        """Forget up to two accounts that a new one would equal."""
        for _ in range(2):
            if not self._accounts:
                return
            peer, account = next(iter(self._accounts.items()))
            if account.calls:
                self._accounts.move_to_end(peer)
            elif account.balance(now) >= BURST:
                del self._accounts[peer]
            else:
                return

    @property
    def used(self) -> float:
        """Seconds of counted work in this pass of the event loop."""
        return self._used

    def count(self, seconds: float) -> None:
        """Count work that was done in this pass, for calls or for nobody: what begins after it waits for the next."""
        self._used += seconds
        self._arm()  # so that what was used counts in this pass only

    async def let_calls_go_first(self) -> None:
        """Go on in the first of the next passes in which little was done yet, or after a few of them."""
        for _ in range(PUT_OFF):
            await asyncio.sleep(0)
            if self._used < CALLS_TIME:
                return

    def may_start(self, account: Account, now: float) -> bool:
        """Whether a call need not wait: little was done in this pass, and its account is not overdrawn."""
        return self._used < PASS_TIME and account.balance(now) >= 0

    async def wait_to_start(self, account: Account) -> None:
        """Wait for the turn of a call that may not start yet."""
        await self._wait(self._starting, account)

    async def wait_to_go_on(self, account: Account) -> None:
        """Let others have their turn."""
        await self._wait(self._going_on, account)

    async def wait_for_room(self, account: Account) -> None:
        """Wait if the pass has no room, others wait, or the account is overdrawn: what a stream brings is many frames.

        If each of a thousand streams had a frame taken in every pass, new callers would give up before they begin.
        """
        if self._frames.waiting or self._used >= ROOM or account.balance(self.clock()) < 0:
            await self._wait(self._frames, account)

    async def _wait(self, queue: _Queue, account: Account) -> None:
        waiter = queue.add(account)
        self._arm()
        await waiter

    def _arm(self) -> None:
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._next_pass)

    def _next_pass(self) -> None:
        """Give one of those who wait a turn in this pass, after a long one more of those who have yet to begin.

        What streams bring has what room is left. All follow what the others are ready to do anyway.
        """
        self._armed = False
        used, self._used = self._used, 0.0
        if not (self._released or self._are_waiting()):
            self._started = 0
            return
        now = self.clock()
        is_released = self._release_next(now)
        if is_released:
            for _ in range(min(MOST_STARTS, int(used / (2 * PASS_TIME))) - 1):
                self._starting.release(now, overdrawn=False)
        self._release_frames(used, now)
        if not is_released and not self._released and self._are_waiting():
            self._passed_over += 1
            if used < PASS_TIME or self._passed_over > PASSES_OVER:
                self._passed_over = 0
                queues = (self._starting, self._going_on, self._frames)
                _ = any(queue.release(now, overdrawn=True) for queue in queues)
        if self._are_waiting():
            self._arm()

    def _release_frames(self, used: float, now: float) -> None:
        """Give as many frames of streams their turn as are worked on in the time that a pass has for them."""
        if self._released:
            self._frame_time += (used / self._released - self._frame_time) * WEIGHT
        self._released, room = 0, max(1, int(ROOM / max(self._frame_time, LEAST_FRAME)))
        while self._released < room and self._frames.release(now, overdrawn=False):
            self._released += 1

    def _are_waiting(self) -> bool:
        return bool(self._starting.waiting or self._going_on.waiting or self._frames.waiting)

    def _release_next(self, now: float) -> bool:
        """Give one that is not overdrawn its turn: one that begins before one under way, but not always."""
        if self._started < STARTS and self._starting.release(now, overdrawn=False):
            self._started += 1
            return True
        self._started = 0
        return self._going_on.release(now, overdrawn=False) or self._starting.release(now, overdrawn=False)


class Call:
    """One call: it begins when it is its turn, and all its steps are charged to its account."""

    __slots__ = ("_account", "_began_at", "_turns", "identity", "peer")

    def __init__(self, turns: Turns, account: Account, peer: str, identity: str, now: float) -> None:
        self.peer = peer
        self.identity = identity
        self._turns = turns
        self._account = account
        self._began_at = now
        """When the step under way began; before the first, when the call came."""

    def __enter__(self) -> Self:
        self._account.calls += 1
        # Not reset: gRPC runs each call in a task of its own, and closes some from another one.
        _current.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._account.calls -= 1

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of the work, which begins when it is this call's turn."""
        if not self._turns.may_start(self._account, self._began_at):
            await self._turns.wait_to_start(self._account)
        return await _Metered(work(), self)

    async def wait_turn(self) -> None:
        """Let others have their turn."""
        await self._turns.wait_to_go_on(self._account)

    async def wait_for_room(self) -> None:
        """Wait if much was done in this pass: before the next of many frames that come by themselves."""
        await self._turns.wait_for_room(self._account)

    def is_over(self, ahead: float = 0.0) -> bool:
        """Whether its slice is used up, by this step, others of this pass and the seconds that its next bit takes."""
        own = self._turns.clock() - self._began_at + ahead
        return own >= LEAST_SLICE and own + self._turns.used >= SLICE_TIME

    def begin_step(self) -> None:
        """A step begins."""
        self._began_at = self._turns.clock()

    def end_step(self) -> None:
        """Charge the step that has just ended."""
        now = self._turns.clock()
        seconds, self._began_at = now - self._began_at, now
        self._account.charge(seconds, now)
        self._turns.count(seconds)


_current: ContextVar[Call | None] = ContextVar("call", default=None)


def current_call() -> Call | None:
    """The call for which the present task works."""
    return _current.get()


def current_caller() -> str:
    """Whose the call is that runs now: the identity, if there are any, and the connection as gRPC names it."""
    call = _current.get()
    return "" if call is None else f"{call.identity} {call.peer}".strip()


def current_identity() -> str:
    """The identity whose the call is that runs now; empty where callers have none."""
    call = _current.get()
    return "" if call is None else call.identity


async def wait_turn() -> None:
    """Let others have their turn; what belongs to no call goes on in the next pass."""
    call = _current.get()
    if call is None:
        await asyncio.sleep(0)
    else:
        await call.wait_turn()


async def wait_for_room() -> None:
    """Wait if much was done in this pass: before the next of many frames that come by themselves."""
    call = _current.get()
    if call is not None:
        await call.wait_for_room()


async def metered(work: Coroutine[Any, Any, T]) -> T:
    """The result of work in a task of its own, charged to the call that made the task."""
    call = _current.get()
    return await (work if call is None else _Metered(work, call))


class _Metered(Awaitable[T]):
    """Awaits something, and charges each step of it."""

    __slots__ = ("_call", "_work")

    def __init__(self, work: Awaitable[T], call: Call) -> None:
        self._work = work
        self._call = call

    def __await__(self) -> Generator[Any, Any, T]:
        call = self._call
        steps: Any = self._work.__await__()
        error: BaseException | None = None
        while True:
            call.begin_step()
            try:
                # As ``yield from`` does, with a clock around each step.
                waits_for: Any = next(steps) if error is None else steps.throw(error)
            except StopIteration as end:
                result: T = end.value
                return result
            finally:
                call.end_step()
                error = None  # its traceback names this frame, so they would be garbage that only a collector finds
            try:
                yield waits_for
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - whatever is thrown in, the work must see it
                error = thrown
