"""Calls in the log: refused ones with their reason, all of them at debug, and who asked for what was decided."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest
from gossipcontrol.server.config import Log
from gossipcontrol.server.errors import InvalidRequest, NotFound, Stopping
from gossipcontrol.server.observe.calls import REFUSAL_BURST, REFUSAL_INTERVAL, CallLog
from gossipcontrol.server.observe.library_log import take_library_lines
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.server.observe.tasks import LISTED_GROUPS, log_tasks
from gossipcontrol.v1 import gossip_control_pb2, gossip_control_pb2_grpc

from tests.kit.service_lab import BareAgent, Service, config, connected, refusal, rejoin, serving

Stub: TypeAlias = "gossip_control_pb2_grpc.GossipControlAsyncStub"
ASKED = "123e4567-e89b-12d3-a456-426614174000"


class Recorder:
    """A log in memory."""

    def __init__(self, level: str = "info") -> None:
        self.output = io.StringIO()
        self.log = Logger(Log(format="json", level=level), self.output)

    def lines(self) -> list[dict[str, Any]]:
        self.log.close()
        return [json.loads(line) for line in self.output.getvalue().splitlines()]


async def test_a_decision_says_who_asked(service: Service, stub: Stub) -> None:
    agent = BareAgent(stub)
    await agent.register("n", "a")
    request = rejoin("n")
    request.request_id = ASKED
    await stub.Rejoin(request)
    async with connected(service.tcp) as other:
        await other.Rejoin(rejoin("n"))
    local, remote = service.lines("decided")
    assert (local["request"], local["caller"]) == (ASKED, "unix:")
    assert remote["caller"].startswith("ipv4:127.0.0.1:")


async def test_a_refused_call_is_logged_with_its_reason(service: Service, stub: Stub) -> None:
    await refusal(stub.Rejoin(gossip_control_pb2.RejoinRequest(node_id="")))
    [line] = service.lines("call refused")
    assert (line["level"], line["rpc"].rpartition("/")[2], line["code"]) == ("info", "Rejoin", "INVALID_ARGUMENT")
    assert line["caller"] == "unix:"
    assert "node_id" in line["reason"]


async def test_each_call_is_logged_at_debug(tmp_path: Path) -> None:
    settings = config(tmp_path)
    async with serving(settings) as service, connected(service.address) as stub:
        service.log.configure(Log(format="json", level="debug"))
        request = rejoin("n")
        request.request_id, request.park_unknown = ASKED, True
        await stub.Rejoin(request)
        [line] = service.lines("call")
        assert (line["request"], line["bytes"], line["code"]) == (ASKED, request.ByteSize(), "OK")
        assert line["seconds"] > 0
        assert line["caller"] == "unix:"


def test_many_refusals_of_one_caller_are_few_lines() -> None:
    """A client that reconnects for each call, so with a port of its own each time, is one caller."""
    recorder, now = Recorder(), [0.0]
    calls = CallLog(recorder.log, lambda: now[0])
    for port in range(1000):
        calls.refused("/s/Rejoin", f"ipv4:127.0.0.1:{port}", InvalidRequest([("node_id", "must be given")]))
    assert len(recorder.lines()) == REFUSAL_BURST
    calls.refused("/s/Rejoin", "unix:", NotFound("node n is not known"))
    now[0] = REFUSAL_INTERVAL
    calls.refused("/s/Rejoin", "ipv4:127.0.0.1:5", InvalidRequest([("node_id", "must be given")]))
    *_, other, last = recorder.lines()
    assert other["caller"] == "unix:"
    assert last["left_out"] == 1000 - REFUSAL_BURST


def test_a_stop_is_no_refusal() -> None:
    recorder = Recorder()
    CallLog(recorder.log).refused("/s/Attach", "unix:", Stopping("the service is stopping"))
    assert not recorder.lines()


def test_an_address_is_readable() -> None:
    recorder = Recorder("debug")
    CallLog(recorder.log).ended("/s/Attach", "ipv6:%5B::1%5D:4711", iter(()), grpc.StatusCode.OK, 0.5)
    [line] = recorder.lines()
    assert (line["caller"], line["bytes"]) == ("ipv6:[::1]:4711", None)


def test_lines_of_libraries_have_the_format_of_the_log() -> None:
    recorder = Recorder()
    handler = take_library_lines(recorder.log)
    try:
        logging.getLogger("grpc._cython.cygrpc").error("Unexpected [%s] raised", "ValueError")
        logging.getLogger("asyncio").info("Using selector")
        try:
            raise ValueError("of a library")
        except ValueError:
            logging.getLogger("asyncio").exception("Task exception was never retrieved")
    finally:
        logging.getLogger().removeHandler(handler)
    first, second = recorder.lines()
    assert (first["event"], first["logger"], first["level"]) == ("library", "grpc._cython.cygrpc", "error")
    assert first["text"] == "Unexpected [ValueError] raised"
    assert "ValueError: of a library" in second["exception"]


@pytest.mark.parametrize("places", [3, LISTED_GROUPS + 5])
async def test_a_dump_is_bounded(places: int) -> None:
    recorder = Recorder()
    gate = asyncio.Event()
    work: dict[str, Any] = {"gate": gate}
    exec("".join(f"async def wait_{n}():\n    await gate.wait()\n" for n in range(places)), work)
    tasks = [asyncio.create_task(work[f"wait_{n}"]()) for n in range(places) for _ in range(2)]
    while not all(task.get_coro().cr_await for task in tasks):  # type: ignore[union-attr]
        await asyncio.sleep(0)
    log_tasks(tasks, recorder.log)
    gate.set()
    await asyncio.gather(*tasks)
    lines = recorder.lines()
    assert (lines[0]["tasks"], lines[0]["places"]) == (2 * places, places)
    listed = [line for line in lines if line["event"] == "tasks"]
    assert len(listed) == min(places, LISTED_GROUPS)
    assert all(line["count"] == 2 and line["work"].startswith("wait_") for line in listed)
    assert [line["places"] for line in lines if line["event"] == "tasks left out"] == [5][: places > LISTED_GROUPS]
