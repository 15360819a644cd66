"""The one retry policy: what is tried again, when, and for how long."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
import tenacity
from gossipcontrol.client.errors import retry_delay

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
    """The result of the call, which is given the seconds it has left.

    Transient failures are tried again for ``timeout`` seconds in all, the last one is raised; nobody is kept waiting
    for a further attempt that would come too late.

    Every call that changes something carries a request id, so that trying again changes nothing twice.
    """
    ends_at = clock() + timeout

    def comes_too_late(state: tenacity.RetryCallState) -> bool:
        return clock() + state.upcoming_sleep >= ends_at

    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(is_transient),
        wait=_wait,
        stop=comes_too_late,
        sleep=sleep,
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits coroutine functions only
        return await call(max(0.001, ends_at - clock()))

    return await retrying(attempt)


_BROKEN_STREAM = "Internal error from Core"
"""What grpc.aio says, instead of the status, when a stream ends while it writes to it."""


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help."""
    if not isinstance(error, grpc.aio.AioRpcError):
        return False
    if error.code() is grpc.StatusCode.INTERNAL:
        return error.details() == _BROKEN_STREAM
    if error.code() not in TRANSIENT:
        return False
    # gRPC itself says RESOURCE_EXHAUSTED of a message that is too large, and always will.
    return error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or retry_delay(error) is not None


def _wait(state: tenacity.RetryCallState) -> float:
    """What the service asked for, or our own backoff if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = retry_delay(error) if isinstance(error, grpc.aio.AioRpcError) else None
    return max(asked or 0.0, _WAIT(state))
