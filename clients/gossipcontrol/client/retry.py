"""The one retry policy: what is tried again, when, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import tenacity
from gossipcontrol.client.failure import failure, retry_delay

T = TypeVar("T")
TRANSIENT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.ABORTED})
_WAIT = tenacity.wait_random_exponential(multiplier=0.1, max=5.0)


def reconnect_wait(attempt: int) -> float:
    """Seconds before connecting again after so many failures in a row: exponential with full jitter, at most 5."""
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = attempt
    return _WAIT(state)


async def call_with_retry(
    call: Callable[[float], Awaitable[T]],
    timeout: float,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The result of the call, which is given the seconds that are left.

    Transient failures are tried again for ``timeout`` seconds in all; then the last one is raised. There is no wait
    for an attempt that would come too late. Every call that changes something carries a request id, so that trying it
    again changes nothing twice.
    """
    policy = _Policy(timeout, clock)
    retrying = tenacity.AsyncRetrying(sleep=sleep, **policy.settings())

    async def attempt() -> T:  # tenacity awaits coroutine functions only
        return await call(policy.left())

    return await retrying(attempt)


def call_with_retry_blocking(
    call: Callable[[float], T],
    timeout: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """The same for a call that blocks."""
    policy = _Policy(timeout, clock)
    retrying = tenacity.Retrying(sleep=sleep, **policy.settings())
    return retrying(lambda: call(policy.left()))


class _Policy:
    """One call's attempts, all within its timeout."""

    def __init__(self, timeout: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends_at = clock() + timeout

    def left(self) -> float:
        """Seconds that are left for an attempt."""
        return max(0.001, self._ends_at - self._clock())

    def settings(self) -> dict[str, Any]:
        """For tenacity."""
        return {
            "retry": tenacity.retry_if_exception(is_transient),
            "wait": _wait,
            "stop": self._is_too_late,
            "reraise": True,
        }

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


def _wait(state: tenacity.RetryCallState) -> float:
    """What the service asked for, or our own backoff if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = retry_delay(error) if isinstance(error, grpc.RpcError) else None
    return max(asked or 0.0, _WAIT(state))
