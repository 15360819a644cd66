"""The one retry policy: what is tried again, when, and for how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import tenacity
from gossipcontrol.client.failure import failure, is_gone, retry_delay

if TYPE_CHECKING:
    from gossipcontrol.client.servers import Search

T = TypeVar("T")
TRANSIENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED})
LONGEST_WAIT = 5.0
"""Most seconds between two attempts."""
LITTLE = 0.5
"""Seconds: that an attempt with less of them had no answer says nothing of the service."""


def reconnect_wait(attempt: int, longest: float = LONGEST_WAIT) -> float:
    """Seconds before connecting again after so many failures in a row: exponential with full jitter."""
    return random.uniform(0.0, min(longest, 0.1 * 2 ** min(attempt - 1, 10)))


async def call_with_retry(
    call: Callable[[float], Awaitable[T]],
    timeout: float,
    search: Search,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The result of the call, which is given the seconds that are left, and asks the server that ``search`` names.

    Transient failures are tried again for ``timeout`` seconds in all; then the last one is raised, or the one before it
    if hardly any time was left for the last attempt. There is no wait for an attempt that would come too late. Every
    call that changes something carries a request id, so that trying it again changes nothing twice.
    """
    policy = _Policy(timeout, search, clock)
    retrying = tenacity.AsyncRetrying(sleep=sleep, **policy.settings())

    async def attempt() -> T:  # tenacity awaits coroutine functions only
        return await call(policy.left())

    try:
        return await retrying(attempt)
    except grpc.RpcError as error:
        raise policy.telling(error) from None


def call_with_retry_blocking(
    call: Callable[[float], T],
    timeout: float,
    search: Search,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The same for a call that blocks."""
    policy = _Policy(timeout, search, clock)
    retrying = tenacity.Retrying(sleep=sleep, **policy.settings())
    try:
        return retrying(lambda: call(policy.left()))
    except grpc.RpcError as error:
        raise policy.telling(error) from None


class _Policy:
    """One call's attempts, all within its timeout."""

    def __init__(self, timeout: float, search: Search, clock: Callable[[], float]) -> None:
        self._search = search
        self._clock = clock
        self._ends_at = clock() + timeout
        self._had = timeout
        """Seconds that were left for the last attempt."""
        self._before: grpc.RpcError | None = None
        """The last failure that was tried again."""
        self._refusal: grpc.RpcError | None = None
        """What a standby answered last."""

    def left(self) -> float:
        """Seconds that are left for an attempt."""
        self._had = max(0.001, self._ends_at - self._clock())
        return self._had

    def telling(self, error: grpc.RpcError) -> grpc.RpcError:
        """The last error, or one before it that says more: a standby answered, and then there was nobody."""
        if self._refusal is not None and is_gone(error):
            return self._refusal
        is_cut = failure(error).code() is grpc.StatusCode.DEADLINE_EXCEEDED and self._had < LITTLE
        return self._before if is_cut and self._before is not None else error

    def settings(self) -> dict[str, Any]:
        """For tenacity."""
        return {
            "retry": tenacity.retry_if_exception(self._may_go_on),
            "wait": self._wait,
            "stop": self._is_too_late,
            "reraise": True,
        }

    def _may_go_on(self, error: BaseException) -> bool:
        if is_transient(error) and isinstance(error, grpc.RpcError):
            self._before = error
            if self._search.is_refused(error):
                self._refusal = error
            return True
        return self._search.may_go_on(error)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return self._search.wait(error if isinstance(error, grpc.RpcError) else None)

    def _is_too_late(self, state: tenacity.RetryCallState) -> bool:
        return self._clock() + state.upcoming_sleep >= self._ends_at


_BROKEN_STREAM = "Internal error from Core"
"""What grpc.aio says, instead of the status, when a stream ends while it writes to it."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    if not isinstance(error, grpc.RpcError):
        return False
    code = failure(error).code()
    if code is grpc.StatusCode.INTERNAL:
        return failure(error).details() == _BROKEN_STREAM
    if code not in TRANSIENT:
        return False
    # gRPC itself says RESOURCE_EXHAUSTED of a message that is too large, and always will.
    return code is not grpc.StatusCode.RESOURCE_EXHAUSTED or retry_delay(error) is not None
