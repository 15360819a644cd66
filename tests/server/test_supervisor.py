"""Readiness, reload and watchdog, as systemd receives them: sd_notify(3)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from gossipcontrol.server.supervisor import Supervisor

from tests.kit.until import DEADLINE


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind(str(tmp_path / "notify"))
        one.settimeout(DEADLINE)
        yield one


async def test_a_service_says_when_it_is_ready_and_feeds_the_watchdog(receiver: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.getsockname(), "WATCHDOG_USEC": "30000"})
    supervisor.ready()
    try:
        received = [(await asyncio.to_thread(receiver.recv, 100)).decode() for _ in range(3)]
    finally:
        supervisor.close()
    assert received == ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]


async def test_a_reload_is_framed(receiver: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.getsockname()})
    supervisor.reloading()
    supervisor.ready()
    supervisor.stopping()
    received = [receiver.recv(100).decode() for _ in range(3)]
    assert received[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert received[1:] == ["READY=1", "STOPPING=1"]


async def test_an_abstract_socket_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        one.bind("\0gossipcontrol-supervisor")
        one.settimeout(DEADLINE)
        Supervisor({"NOTIFY_SOCKET": "@gossipcontrol-supervisor"}).stopping()
        assert one.recv(100) == b"STOPPING=1"


async def test_the_watchdog_of_another_process_is_not_fed(receiver: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": receiver.getsockname(), "WATCHDOG_USEC": "30000", "WATCHDOG_PID": "1"})
    supervisor.ready()
    supervisor.stopping()
    supervisor.close()
    assert [receiver.recv(100) for _ in range(2)] == [b"READY=1", b"STOPPING=1"]


async def test_without_a_supervisor_nothing_is_sent(tmp_path: Path) -> None:
    Supervisor({}).ready()
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
