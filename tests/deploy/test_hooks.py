"""The hooks for hosts without a watcher: run as their programs run them, against the real service."""

from __future__ import annotations

import asyncio
import os
import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gossipcontrol.cli.main import main
from gossipcontrol.v1 import decision_pb2
from gossipcontrol.v1.gossip_control_pb2 import ListRejoinsRequest
from prometheus_client import generate_latest

from tests.kit.service_lab import BareAgent, config, connected, serving
from tests.kit.until import DEADLINE

DEPLOY = Path(__file__).parents[2] / "deploy"
HOOKS = sorted((DEPLOY / "hooks").iterdir())
PLIST = DEPLOY / "launchd/org.gossipcontrol.watch.plist"
RESUME, CHANGE = "RESUME", "NETWORK_CHANGE"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_every_hook_is_a_script_that_can_be_installed(hook: Path) -> None:
    assert os.access(hook, os.X_OK)
    assert hook.read_text().startswith("#!/bin/sh\n")
    subprocess.run(("sh", "-n", str(hook)), check=True)


@pytest.mark.skipif(
    shutil.which("shellcheck") is None, reason="the program shellcheck is missing: apt-get install shellcheck"
)
@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
def test_shellcheck_finds_nothing(hook: Path) -> None:
    checked = subprocess.run(("shellcheck", str(hook)), capture_output=True, text=True, check=False)
    assert checked.stdout == ""


CALLS: list[tuple[str, tuple[str, ...], dict[str, str], str]] = [
    ("systemd-sleep", ("post", "suspend"), {}, RESUME),
    ("systemd-sleep", ("post", "hibernate"), {}, RESUME),
    ("systemd-sleep", ("pre", "suspend"), {}, ""),
    ("networkmanager", ("wlan0", "up"), {}, CHANGE),
    ("networkmanager", ("eth0", "dhcp4-change"), {}, CHANGE),
    ("networkmanager", ("eth0", "down"), {}, ""),
    ("networkmanager", ("tun0", "vpn-up"), {}, ""),
    ("networkmanager", ("docker0", "up"), {}, ""),
    ("networkmanager", ("", "hostname"), {}, ""),
    ("networkmanager", ("none", "connectivity-change"), {}, ""),
    ("networkd-dispatcher", (), {"IFACE": "eth0", "STATE": "routable"}, CHANGE),
    ("networkd-dispatcher", (), {"IFACE": "wg0", "STATE": "routable"}, ""),
]


@pytest.mark.parametrize(("name", "arguments", "given", "cause"), CALLS)
async def test_a_hook_reports_what_its_program_tells(
    name: str, arguments: tuple[str, ...], given: dict[str, str], cause: str, tmp_path: Path
) -> None:
    async with serving(config(tmp_path)) as service, connected(service.address) as stub:
        await BareAgent(stub).register("n", "a", host_id="h")
        await run(name, arguments, {**environment(tmp_path, service.address), **given})
        causes = [
            decision_pb2.Cause.Name(trigger.cause)
            for rejoin in (await stub.ListRejoins(ListRejoinsRequest())).rejoins
            for trigger in rejoin.triggers
        ]
        assert causes == ([f"CAUSE_{cause}"] if cause else [])
        told = generate_latest(service.app.metrics.registry).decode()
        announced = 'gossipcontrol_network_changes_total{kind="sleeping",platform="unspecified"} 1.0' in told
        assert announced == ("pre" in arguments), [line for line in told.splitlines() if "network_changes" in line]
        if cause or announced:
            assert (tmp_path / "limit").read_text() == ("5\n" if announced else "10\n"), "sleep does not wait for long"


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.name)
async def test_without_a_service_nothing_fails(hook: Path, tmp_path: Path) -> None:
    given = {**environment(tmp_path, f"unix:{tmp_path}/none.sock"), "IFACE": "eth0"}
    arguments = {"systemd-sleep": ("pre", "suspend"), "networkmanager": ("eth0", "up")}.get(hook.name, ())
    await run(hook.name, arguments, given)


def environment(tmp_path: Path, address: str) -> dict[str, str]:
    """A path with the command ``gossipcontrol`` of this checkout, and time for it: many tests run side by side.

    The seconds that a hook gives the command are written to the file ``limit``.
    """
    folder = tmp_path / "bin"
    folder.mkdir()
    for command, line in (
        ("gossipcontrol", f'exec {sys.executable} -m gossipcontrol.cli "$@"'),
        ("timeout", f'echo "$1" >"{tmp_path}/limit"; shift; exec /usr/bin/timeout {DEADLINE:g} "$@"'),
    ):
        (folder / command).write_text(f"#!/bin/sh\n{line}\n")
        (folder / command).chmod(0o755)
    path = f"{folder}:/usr/bin:/bin"
    return {"PATH": path, "GOSSIPCONTROL_ADDRESS": address, "GOSSIPCONTROL_HOST_ID": "h"}


async def run(name: str, arguments: tuple[str, ...], given: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        str(DEPLOY / "hooks" / name), *arguments, env=given, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"")


def test_the_launchd_job_runs_the_watcher_and_keeps_it() -> None:
    job = plistlib.loads(PLIST.read_bytes())
    assert job["Label"] == PLIST.stem
    assert (job["RunAtLoad"], job["KeepAlive"]) == (True, True)
    program, *arguments = job["ProgramArguments"]
    assert Path(program).name == "gossipcontrol"
    context = main.make_context("gossipcontrol", [*arguments, "--help"], resilient_parsing=True)
    assert arguments[0] == "watch"
    assert main.get_command(context, "watch") is not None
