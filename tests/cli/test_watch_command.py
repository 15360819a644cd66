"""The real ``gossipcontrol watch`` as a process in a namespace."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.kit.address import local_address
from tests.kit.network import Host, Network, needs_namespaces
from tests.kit.process import CLIENT, Process, service, watcher

LIMIT = 90.0


@pytest.fixture
async def host() -> AsyncGenerator[Host]:
    async with Network(hosts=1) as network:
        yield network.hosts[0]


async def said_by(process: Process, event: str, count: int) -> list[dict[str, object]]:
    """The first so many lines of this event."""
    for number in range(count):
        latest = process.all(event)[number - 1]["ts"] if number else 0.0
        await process.wait_for(event, LIMIT, after=latest)
    return process.all(event)


@needs_namespaces
@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_a_day_of_a_host(host: Host, tmp_path: Path) -> None:
    """Loss and return, another address, and a service that comes late: each change is delivered once, in order."""
    async with watcher(host, tmp_path) as watching:
        first = await watching.wait_for("watching", LIMIT)
        assert (first["host"], first["source"]) == (host.namespace, "rtnetlink")
        assert first["network"] == "eth0 via 10.77.0.1; 10.77.0.2"
        assert (first["watched"], first["ignored"]) == ({"eth0": ""}, {"lo": "loopback"})
        await host.link_down()
        await watching.wait_for("lost", LIMIT)
        assert watching.all("change") == []
        await host.link_up()
        await said_by(watching, "change", 1)
        await watching.wait_for("undelivered", LIMIT)
        async with service(host, tmp_path):
            await watching.wait_for("delivered", LIMIT)
            await host.unplug()
            await host.plug()
            changes = await said_by(watching, "change", 2)
            delivered = await said_by(watching, "delivered", 2)
        assert [one["generation"] for one in delivered] == [one["generation"] for one in changes]
        assert len(watching.all("undelivered")) == 1
        assert await watching.stop() == 0
    assert not watching.all("line"), "only JSON, and no traceback"


@needs_namespaces
async def test_two_watchers_of_one_host_tell_of_one_event(host: Host, tmp_path: Path) -> None:
    async with watcher(host, tmp_path) as one, watcher(host, tmp_path) as other:
        for watching in (one, other):
            await watching.wait_for("watching", LIMIT)
        await host.unplug()
        await host.plug()
        generations = {(await watching.wait_for("change", LIMIT))["generation"] for watching in (one, other)}
    assert len(generations) == 1


@needs_namespaces
async def test_a_default_route_that_goes_is_a_change_and_not_a_loss(host: Host, tmp_path: Path) -> None:
    async with watcher(host, tmp_path) as watching:
        await watching.wait_for("watching", LIMIT)
        await host.run("ip", "route", "delete", "default")
        change = await watching.wait_for("change", LIMIT)
        assert change["detail"] == "no default route; 10.77.0.2 (default v4 changed)"
        assert watching.all("lost") == []


@needs_namespaces
async def test_the_first_line_says_what_is_ignored_and_why_and_fits_80_columns(host: Host, tmp_path: Path) -> None:
    """moby/moby#25139: nothing was told of a tap0 that was the only uplink, and nothing said so."""
    for number in range(30):
        await host.run("ip", "link", "add", f"veth-guest{number}", "type", "bridge")
    command = (*CLIENT, "watch", "--address", local_address(tmp_path / "none.sock"))
    async with Process("watcher", *command, host=host, environment={"RUNTIME_DIRECTORY": str(tmp_path)}) as watching:
        line = await watching.wait_for_text("watching", LIMIT)
    assert line is watching.lines[0]
    assert line["text"][10:] == "watching eth0; ignoring 30 named veth*, lo (loopback)"
    assert len(line["text"]) <= 80


@needs_namespaces
@pytest.mark.not_on_windows("Wine without a console sends no signals; test_stop.py raises them in the process")
async def test_what_people_read(host: Host, tmp_path: Path) -> None:
    command = (*CLIENT, "watch", "--host-id", "laptop", "--address", local_address(tmp_path / "none.sock"))
    reading = await asyncio.create_subprocess_exec(
        "ip", "netns", "exec", host.namespace, *command, stdout=asyncio.subprocess.PIPE,
        env={"RUNTIME_DIRECTORY": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert reading.stdout is not None
    lines: list[str] = []

    async def line() -> str:
        assert reading.stdout is not None
        lines.append((await reading.stdout.readline()).decode().rstrip())
        return lines[-1][10:]  # without the time of day

    async with asyncio.timeout(LIMIT):
        scope, watching, network, reporting = await line(), await line(), await line(), await line()
        await host.link_down()
        lost = await line()
        await host.link_up()
        changed, waiting = await line(), await line()
        reading.send_signal(signal.SIGINT)
        assert await reading.wait() == 0
    assert scope == "watching eth0; ignoring lo (loopback)"
    assert watching == "watching host laptop through rtnetlink"
    assert network == "the network is eth0 via 10.77.0.1; 10.77.0.2"
    assert reporting.startswith("reporting to ")
    assert lost == "network lost; waiting for it to come back"
    assert changed == "network change: eth0 via 10.77.0.1; 10.77.0.2"
    assert waiting.startswith("service unreachable, will retry: ")


@needs_namespaces
async def test_a_recording_shows_again_what_was_reported(host: Host, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    command = (*CLIENT, "watch", "--address", f"unix:{tmp_path}/none.sock", "--json", "--record", str(path))
    async with Process("watcher", *command, host=host, environment={"RUNTIME_DIRECTORY": str(tmp_path)}) as watching:
        await watching.wait_for("watching", LIMIT)
        await host.unplug()
        await host.plug()
        await said_by(watching, "change", 1)
        await host.move("10.77.0.77")
        changes = await said_by(watching, "change", 2)
        assert await watching.stop() == 0
    assert [one["detail"] for one in replayed(path)] == [one["detail"] for one in changes]
    again = run_watch("--record", str(path), "--address", "127.0.0.1:1")
    assert (again.returncode, "cannot be made" in again.stderr) == (1, True)


def run_watch(*flags: str) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, "-m", "gossipcontrol.cli", "watch", *flags)
    return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)


def replayed(path: Path) -> list[dict[str, object]]:
    run = run_watch("--replay", str(path), "--json")
    assert (run.returncode, run.stderr) == (0, "")
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_file_that_is_no_recording_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    for text in ("nonsense", "", "{}"):
        path.write_text(text)
        run = run_watch("--replay", str(path))
        said = f"Error: {path} cannot be replayed: it is no recording of a watcher\n"
        assert (run.returncode, run.stderr) == (1, said)


def test_the_self_test_says_what_works() -> None:
    run = run_watch("--self-test")
    assert run.returncode == 0
    source = "iphlpapi" if sys.platform == "win32" else "rtnetlink"
    assert run.stdout.startswith(f"ok    network ({source}): ")
    assert run.stdout.splitlines()[-1].startswith("Changes of the network are reported at once; ")
    assert json.loads(run_watch("--self-test", "--json").stdout.splitlines()[0])["works"] is True


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--quiet-time", "-1"), "--quiet-time"),
        (("--quiet-time", "nan"), "--quiet-time"),
        (("--quiet-time", "x"), "--quiet-time"),
        (("--address", "unix:relative"), "unix:relative"),
        (("--address", "nowhere"), "nowhere"),
        (("--host-id", "ü" * 65), "--host-id"),
        (("--node", "n", "--node", "n"), "--node"),
        (("--node", ""), "--node"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(flags: tuple[str, ...], named: str) -> None:
    run = subprocess.run(
        (sys.executable, "-m", "gossipcontrol.cli", "watch", *flags),
        capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert named in run.stderr
    assert "Traceback" not in run.stderr
