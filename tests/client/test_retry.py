"""The retry policy, with the clock and the sleep in hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from gossipcontrol.client.failure import OWNER
from gossipcontrol.client.retry import call_with_retry, call_with_retry_blocking, reconnect_wait
from gossipcontrol.client.servers import Search, Servers


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.extra = 0.0
        """Seconds that each sleep takes longer."""
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep_blocking(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds + self.extra

    async def sleep(self, seconds: float) -> None:
        self.sleep_blocking(seconds)


def error(code: grpc.StatusCode, retry_in: int | None = None, owner: str | None = None) -> grpc.aio.AioRpcError:
    """An error; ``owner``: of a standby, which says who serves."""
    trailing = grpc.aio.Metadata()
    if owner is not None:
        trailing.add(OWNER, owner)
    if retry_in is not None:
        status = Status()
        status.details.add().Pack(RetryInfo(retry_delay=Duration(seconds=retry_in)))
        trailing.add("grpc-status-details-bin", status.SerializeToString())
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, code.name)


class Service:
    """Fails with these errors in turn, then answers."""

    def __init__(self, *errors: grpc.aio.AioRpcError) -> None:
        self._errors = list(errors)
        self.left: list[float] = []

    def call_blocking(self, left: float) -> str:
        self.left.append(left)
        if self._errors:
            raise self._errors.pop(0)
        return "answer"

    async def call(self, left: float) -> str:
        return self.call_blocking(left)


Run = Callable[[Service, Time], Awaitable[str]]


async def run_async(service: Service, time: Time) -> str:
    return await call_with_retry(service.call, 5.0, Search(Servers("h:1")), time.sleep, time.clock)


async def run_blocking(service: Service, time: Time) -> str:
    search = Search(Servers("h:1"))
    return call_with_retry_blocking(service.call_blocking, 5.0, search, time.sleep_blocking, time.clock)


@pytest.fixture(params=[run_async, run_blocking], ids=["asynchronous", "blocking"])
def run(request: pytest.FixtureRequest) -> Run:
    """One policy for both kinds of client."""
    chosen: Run = request.param
    return chosen


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED])
async def test_a_transient_failure_is_tried_again_with_what_time_is_left(code: grpc.StatusCode, run: Run) -> None:
    service, time = Service(error(code), error(code)), Time()
    assert await run(service, time) == "answer"
    assert len(time.slept) == 2
    assert service.left == [5.0, 5.0 - time.slept[0], pytest.approx(5.0 - sum(time.slept))]


@pytest.mark.parametrize(
    "failure",
    [
        error(grpc.StatusCode.INVALID_ARGUMENT),
        error(grpc.StatusCode.INTERNAL),
        error(grpc.StatusCode.DEADLINE_EXCEEDED),
        error(grpc.StatusCode.RESOURCE_EXHAUSTED),  # a message that is too large
    ],
    ids=str,
)
async def test_other_failures_are_raised_at_once(failure: grpc.aio.AioRpcError, run: Run) -> None:
    service, time = Service(failure), Time()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(service, time)
    assert caught.value is failure
    assert time.slept == []


async def test_the_service_is_given_the_time_it_asked_for(run: Run) -> None:
    service, time = Service(error(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_in=2)), Time()
    assert await run(service, time) == "answer"
    assert time.slept[0] >= 2.0


async def test_nobody_waits_for_an_attempt_that_would_come_too_late(run: Run) -> None:
    service, time = Service(error(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_in=60)), Time()
    with pytest.raises(grpc.aio.AioRpcError):
        await run(service, time)
    assert time.slept == []


async def test_an_attempt_that_had_hardly_any_time_says_less_than_the_one_before(run: Run) -> None:
    asked = error(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_in=4)
    refused, cut = error(grpc.StatusCode.UNAVAILABLE), error(grpc.StatusCode.DEADLINE_EXCEEDED)
    time = Time()
    time.extra = 0.8
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(Service(asked, cut), time)
    assert caught.value is asked
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(Service(refused, cut), Time())
    assert caught.value is cut, "it had time"


async def test_what_a_standby_answered_says_more_than_that_nobody_listens(run: Run) -> None:
    refused = error(grpc.StatusCode.UNAVAILABLE, owner="")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(Service(refused, *[error(grpc.StatusCode.UNAVAILABLE)] * 1000), Time())
    assert caught.value is refused
    failing = error(grpc.StatusCode.UNAVAILABLE, retry_in=60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(Service(refused, failing), Time())
    assert caught.value is failing, "the owner answered"
    stuck = error(grpc.StatusCode.DEADLINE_EXCEEDED)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run(Service(refused, stuck), Time())
    assert caught.value is stuck, "somebody was there, and had time"


async def test_all_attempts_end_within_the_timeout(run: Run) -> None:
    service, time = Service(*[error(grpc.StatusCode.UNAVAILABLE)] * 1000), Time()
    with pytest.raises(grpc.aio.AioRpcError):
        await run(service, time)
    assert 0 < time.now < 5.0
    assert all(left > 0 for left in service.left)


def test_the_wait_before_connecting_again_grows_to_its_cap_with_full_jitter() -> None:
    for attempt, bound in ((1, 0.1), (2, 0.2), (4, 0.8), (20, 5.0), (10_000, 5.0)):
        waits = [reconnect_wait(attempt) for _ in range(200)]
        assert 0 <= min(waits) < bound / 4
        assert bound / 2 < max(waits) <= bound
