"""The log: one line per decision, with all that a person needs, whatever strangers put into their ids."""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import TypeAlias

import pytest
from gossipcontrol.server.config import Log
from gossipcontrol.server.observe.events import LOGGED_DECISIONS
from gossipcontrol.server.observe.log import MOST_LINES, Logger, make_logger
from gossipcontrol.v1 import gossip_control_pb2_grpc
from gossipcontrol.v1.attach_pb2 import NeighborEvent

from tests.kit.service_lab import BareAgent, Service, rejoin
from tests.kit.until import until

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
NASTY = 'a\nlevel=error event="forged" \t\x1b[31m "b"'


async def test_every_decision_has_a_line(service: Service, stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a", "b")
    answer = await stub.Rejoin(rejoin("n"))
    lines = service.lines("decided")
    assert [(line["cause"], line["node"], line["store"], line["decision"], line["rejoin"]) for line in lines] == [
        ("manual", "n", one.store_id, "started", one.rejoin_id) for one in answer.decisions
    ]
    assert all(line["reason"].startswith("starts now: ") and line["level"] == "info" for line in lines)


async def test_a_trigger_of_many_stores_has_one_line(service: Service, stub: Stub) -> None:
    """One report about a host of 97,000 slots wrote 26 MB of log."""
    agent = BareAgent(stub)
    await agent.register("n", *(f"s{number}" for number in range(LOGGED_DECISIONS + 1)))
    await stub.Rejoin(rejoin("n"))
    [line] = service.lines("decided")
    assert (line["decisions"], line["started"], line["scheduled"]) == (LOGGED_DECISIONS + 1, LOGGED_DECISIONS, 1)


async def test_the_life_of_a_rejoin_can_be_read(service: Service, stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    rejoin_id = (await stub.Rejoin(rejoin("n"))).decisions[0].rejoin_id
    await agent.command()
    await agent.send(neighbor=NeighborEvent(store_id="a", peer_id="p", up=True), commands_received=1)
    await until(lambda: bool(service.lines("rejoin verified")), "a line says that it is verified")
    [started], [verified] = service.lines("rejoin started"), service.lines("rejoin verified")
    assert (started["rejoin"], started["attempt"], started["rung"], started["causes"]) == (
        rejoin_id, 1, "rejoin", "manual",
    )  # fmt: skip
    assert (verified["rejoin"], verified["node"], verified["store"]) == (rejoin_id, "n", "a")
    assert verified["detail"] == "verified by neighbour p"
    assert verified["seconds"] > 0
    assert [line["node"] for line in service.lines("node attached")] == ["n"]


@pytest.mark.parametrize("format_", ["logfmt", "json"])
def test_a_line_stays_one_line(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    make_logger(Log(format=format_)).info("decided", node=NASTY, store="", seconds=None)
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    if format_ == "json":
        line = json.loads(text)
        assert (line["node"], line["level"], line["event"]) == (NASTY, "info", "decided")
        assert line["timestamp"].endswith("Z")
    else:
        assert text.startswith("timestamp=2")
        assert " level=info event=decided " in text


def test_lines_below_the_level_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    log = make_logger(Log(level="warning"))
    log.info("decided")
    log.warning("node refused")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_lost_log_costs_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", buffering=1) as broken:  # noqa: PTH123 - a descriptor, no path
        monkeypatch.setattr("sys.stderr", broken)
        make_logger(Log()).info("decided")
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


async def test_very_many_lines_are_written_in_parts() -> None:
    """Those of 10 ms of a storm took 13 ms in one pass of the event loop."""
    output, seen = io.StringIO(), set[int]()
    log = Logger(Log(), output)
    for number in range(3 * MOST_LINES + 1):
        log.info("line", number=number)
    while (written := output.getvalue().count("\n")) < 3 * MOST_LINES + 1:
        seen.add(written)
        await asyncio.sleep(0)
    assert seen == {1, MOST_LINES + 1, 2 * MOST_LINES + 1}
    log.info("line", number=-1)
    log.close()
    numbers = [line.rpartition("=")[2] for line in output.getvalue().splitlines()]
    assert numbers == [str(number) for number in (*range(3 * MOST_LINES + 1), -1)]


async def test_lines_that_follow_one_another_are_written_together_in_order_and_with_their_own_times() -> None:
    output, times = io.StringIO(), iter((10.0, 20.0, 30.0))
    log = Logger(Log(format="json"), output, wall=lambda: next(times))
    log.info("first")
    assert output.getvalue().count("\n") == 1
    log.info("second")
    log.warning("third")
    assert output.getvalue().count("\n") == 1
    await until(lambda: output.getvalue().count("\n") == 3, "the others are written")
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    assert [(line["event"], line["timestamp"][17:19]) for line in lines] == [
        ("first", "10"), ("second", "20"), ("third", "30"),
    ]  # fmt: skip
