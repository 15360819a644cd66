"""What the service relies on in every driver: one contract, tested over each of them.

A driver whose nodes report their results is ended by ``finish``; one that learns its results itself, by what it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import NamedTuple

import pytest
from gossipcontrol.server.core.decision import Capability, Cause, Rung
from gossipcontrol.server.core.effect import StartRejoin
from gossipcontrol.server.core.finding import SyncWanted
from gossipcontrol.server.drivers.agent import AgentDriver
from gossipcontrol.server.drivers.driver import DISCONNECTED, AttachedSessions, Driver, Result
from gossipcontrol.server.drivers.fake import FakeDriver
from gossipcontrol.server.rpc.session import OFFER_FRAMES, Session
from gossipcontrol.v1 import attach_pb2

ALL = frozenset(Capability)
SYNC = SyncWanted("n", "a", "p")


class CommandDriver(AttachedSessions):
    """Learns each result itself, as from a command that it runs for the attempt: ``exit`` ends the command."""

    def __init__(self) -> None:
        super().__init__()
        self._commands: dict[tuple[str, str, int], asyncio.Future[Result]] = {}

    async def rejoin(self, start: StartRejoin) -> Result:
        """Run the command."""
        if self.started_for(start) is None:
            return DISCONNECTED
        key = (start.node_id, start.rejoin_id, start.attempt)
        command = self._commands[key] = asyncio.Future[Result]()
        try:
            return await command
        finally:
            del self._commands[key]

    def exit(self, node_id: str, rejoin_id: str, attempt: int, result: Result) -> None:
        """The command of an attempt ends, if there is one and it has not ended yet."""
        command = self._commands.get((node_id, rejoin_id, attempt))
        if command is not None and not command.done():
            command.set_result(result)

    def sync(self, wanted: SyncWanted, addresses: Sequence[str]) -> bool:
        """Run another command."""
        return self.able_to_sync(wanted.node_id) is not None


class Made(NamedTuple):
    """A driver whose attempts wait for their results, and how a result comes about."""

    driver: Driver
    bring: Callable[[str, str, int, Result], None]


def agent() -> Made:
    driver = AgentDriver()
    return Made(driver, driver.finish)


def fake() -> Made:
    driver = FakeDriver(*[None] * 10)
    return Made(driver, driver.finish)


def command() -> Made:
    driver = CommandDriver()
    return Made(driver, driver.exit)


MADE: dict[str, Callable[[], Made]] = {"agent": agent, "fake": fake, "command": command}


@pytest.fixture(params=MADE)
def made(request: pytest.FixtureRequest) -> Made:
    """Each driver."""
    return MADE[request.param]()


@pytest.fixture
def driver(made: Made) -> Driver:
    """Each driver, where no result matters."""
    return made.driver


class Attempts:
    """Attempts under way."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._tasks: list[asyncio.Task[Result]] = []

    async def start(self, start: StartRejoin) -> asyncio.Task[Result]:
        """Begin an attempt, as far as it goes without a result."""
        task = asyncio.create_task(self._driver.rejoin(start))
        self._tasks.append(task)
        await asyncio.wait((task,), timeout=0)
        return task

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def attempts(driver: Driver) -> AsyncIterator[Attempts]:
    """Attempts of the driver, ended with the test."""
    made = Attempts(driver)
    yield made
    await made.end()


def registered(node_id: str = "n", session_id: str = "s1", capabilities: frozenset[Capability] = ALL) -> Session:
    """A session whose registration was answered."""
    session = Session(node_id, session_id, capabilities)
    session.send(attach_pb2.AttachResponse(registered=attach_pb2.Registered()))
    return session


def start(node_id: str = "n", session_id: str = "s1", rejoin_id: str = "r1", attempt: int = 1) -> StartRejoin:
    return StartRejoin(rejoin_id, node_id, "a", session_id, attempt, Rung.REJOIN, (Cause.MANUAL,), (), 5.0, 0.0)


async def test_a_rejoin_ends_with_the_result_of_its_node(made: Made, attempts: Attempts) -> None:
    made.driver.attach(registered())
    attempt = await attempts.start(start())
    assert not attempt.done()
    reported = Result(False, "no such store", permanent=True)
    made.bring("n", "r1", 1, reported)
    assert await attempt == reported


async def test_a_rejoin_of_a_node_that_is_not_attached_fails_and_says_why(driver: Driver) -> None:
    assert await driver.rejoin(start()) == Result(False, "the agent disconnected before the command was sent")


async def test_a_rejoin_that_was_started_for_an_older_session_fails_and_says_why(driver: Driver) -> None:
    driver.attach(registered(session_id="s1"))
    driver.attach(registered(session_id="s2"))
    result = await driver.rejoin(start(session_id="s1"))
    assert (result.ok, result.permanent) == (False, False), "the next attempt may reach the newer session"
    assert result.error == "the agent disconnected before the command was sent"


@pytest.mark.parametrize(
    ("node_id", "rejoin_id", "attempt"), [("m", "r1", 1), ("n", "r2", 1), ("n", "r1", 2)], ids=["node", "id", "attempt"]
)
async def test_a_result_of_another_attempt_is_ignored(
    made: Made, attempts: Attempts, node_id: str, rejoin_id: str, attempt: int
) -> None:
    made.driver.attach(registered())
    made.driver.attach(registered("m"))
    waiting = await attempts.start(start())
    made.bring(node_id, rejoin_id, attempt, Result(False, "forged"))
    made.bring("n", "r1", 1, Result(True))
    assert await waiting == Result(True)


async def test_only_the_first_result_of_an_attempt_counts(made: Made, attempts: Attempts) -> None:
    made.driver.attach(registered())
    waiting = await attempts.start(start())
    made.bring("n", "r1", 1, Result(True))
    made.bring("n", "r1", 1, Result(False, "too late"))
    assert await waiting == Result(True)


async def test_a_result_after_a_cancelled_attempt_is_ignored(made: Made, attempts: Attempts) -> None:
    made.driver.attach(registered())
    first = await attempts.start(start())
    await attempts.end()
    assert first.cancelled()
    made.bring("n", "r1", 1, Result(True))
    second = await attempts.start(start(attempt=2))
    assert not second.done()
    made.bring("n", "r1", 2, Result(True))
    assert await second == Result(True)


async def test_attempts_of_several_nodes_end_each_with_their_own_result(made: Made, attempts: Attempts) -> None:
    made.driver.attach(registered("n"))
    made.driver.attach(registered("m"))
    of_n, of_m = await attempts.start(start("n")), await attempts.start(start("m"))
    made.bring("m", "r1", 1, Result(False, "of m"))
    made.bring("n", "r1", 1, Result(False, "of n"))
    assert [(await of_n).error, (await of_m).error] == ["of n", "of m"]


async def test_what_a_node_reports_ends_no_attempt_of_a_driver_that_learns_its_own_results() -> None:
    driver = CommandDriver()
    driver.attach(registered())
    attempts = Attempts(driver)
    waiting = await attempts.start(start())
    driver.finish("n", "r1", 1, Result(False, "forged"))
    await asyncio.wait((waiting,), timeout=0)
    assert not waiting.done()
    driver.exit("n", "r1", 1, Result(True))
    assert await waiting == Result(True)


async def test_attaching_returns_the_session_that_is_replaced(driver: Driver) -> None:
    old, new = registered(session_id="s1"), registered(session_id="s2")
    assert driver.attach(old) is None
    assert driver.attach(old) is None, "a second registration on the same stream replaces nothing"
    assert driver.attach(new) is old
    assert driver.attach(registered("m")) is None


async def test_detaching_a_replaced_session_changes_nothing(made: Made, attempts: Attempts) -> None:
    old, new = registered(session_id="s1", capabilities=frozenset()), registered(session_id="s2")
    made.driver.attach(old)
    made.driver.attach(new)
    made.driver.detach(old)
    assert made.driver.capabilities("n") == ALL
    waiting = await attempts.start(start(session_id="s2"))
    made.bring("n", "r1", 1, Result(True))
    assert await waiting == Result(True)


async def test_a_detached_node_is_not_acted_for(driver: Driver) -> None:
    session = registered()
    driver.attach(session)
    driver.detach(session)
    driver.detach(session)
    assert driver.capabilities("n") is None
    assert not driver.sync(SYNC, ())
    assert not (await driver.rejoin(start())).ok


async def test_capabilities_are_those_of_the_newest_session(driver: Driver) -> None:
    assert driver.capabilities("n") is None, "no driver can act for a node that never attached"
    driver.attach(registered(capabilities=frozenset()))
    assert driver.capabilities("n") == frozenset()
    session = registered(session_id="s2", capabilities=frozenset({Capability.REBIND}))
    driver.attach(session)
    assert driver.capabilities("n") == frozenset({Capability.REBIND})
    session.capabilities = ALL
    assert driver.capabilities("n") == ALL, "a later registration on the same stream counts"
    assert driver.capabilities("m") is None


@pytest.mark.parametrize("capability", Capability)
async def test_a_sync_is_sent_to_nodes_that_can_sync_only(driver: Driver, capability: Capability) -> None:
    driver.attach(registered(capabilities=frozenset({capability})))
    assert driver.sync(SYNC, ("192.0.2.1:1",)) == (capability is Capability.SYNC_WITH_PEER)


async def test_a_sync_for_an_absent_node_is_not_sent(driver: Driver) -> None:
    driver.attach(registered("m"))
    assert not driver.sync(SYNC, ())


async def frames(session: Session) -> list[attach_pb2.AttachResponse]:
    """What is queued for an agent, without the answer to its registration."""
    written: list[attach_pb2.AttachResponse] = []

    async def write(frame: attach_pb2.AttachResponse) -> None:
        written.append(frame)

    session.close()
    await session.deliver(write)
    return written[1:]


async def test_the_agent_driver_sends_each_command_as_a_frame() -> None:
    driver, session = AgentDriver(), registered()
    driver.attach(session)
    attempts = Attempts(driver)
    await attempts.start(start(attempt=3))
    assert driver.sync(SYNC, ("192.0.2.1:1",))
    rejoin, sync = await frames(session)
    assert (rejoin.rejoin.rejoin_id, rejoin.rejoin.attempt, rejoin.rejoin.store_id) == ("r1", 3, "a")
    assert rejoin.rejoin.deadline_ms == 5000
    assert (sync.sync.node_id, sync.sync.store_id, sync.sync.peer_id) == ("n", "a", "p")
    assert list(sync.sync.addresses) == ["192.0.2.1:1"]
    await attempts.end()


async def test_the_agent_driver_drops_syncs_while_the_agent_is_behind_or_not_registered() -> None:
    driver, session = AgentDriver(), Session("n", "s1", ALL)
    driver.attach(session)
    assert not driver.sync(SYNC, ()), "the answer to the registration comes first"
    session.send(attach_pb2.AttachResponse(registered=attach_pb2.Registered()))
    sent = [driver.sync(SYNC, ()) for _ in range(OFFER_FRAMES + 3)]
    assert sent == [True] * (OFFER_FRAMES - 1) + [False] * 4
