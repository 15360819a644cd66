"""The one retry policy: what is tried again, when, and for how long."""

from __future__ import annotations

import asyncio
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
    call: Callable[[], Awaitable[T]], timeout: float, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> T:
    """The call's result; transient failures are tried again for ``timeout`` seconds, the last one is raised.

    Every call that changes something carries a request id, so that trying again changes nothing twice.
    """
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(_is_transient),
        wait=_wait,
        stop=tenacity.stop_after_delay(timeout),
        sleep=sleep,
        reraise=True,
    )

    async def attempt() -> T:  # tenacity awaits coroutine functions only
        return await call()

    return await retrying(attempt)


def _is_transient(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in TRANSIENT


def _wait(state: tenacity.RetryCallState) -> float:
    """What the service asked for, or our own backoff if that is longer."""
    error = state.outcome.exception() if state.outcome else None
    asked = retry_delay(error) if isinstance(error, grpc.aio.AioRpcError) else None
    return max(asked or 0.0, _WAIT(state))
