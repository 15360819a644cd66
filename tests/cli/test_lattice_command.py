"""``gossipcontrol agent lattice`` with flags that are wrong, and beside a daemon that comes late."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kit.fake_lattice import FakeDaemon, FakeNetwork, store
from tests.kit.process import CLIENT, Process
from tests.kit.until import DEADLINE

LIMIT = 60.0
pytestmark = pytest.mark.not_on_windows("gRPC has no Unix sockets there")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--address", "nonsense"), "nonsense"),
        (("--host-id", "h" * 129), "--host-id: the id must have 1 to 128 bytes in UTF-8, has 129"),
        (("--name", "n" * 65), "--name: name must have 1 to 64 bytes in UTF-8, has 65"),
    ],
)
def test_a_wrong_flag_is_named_and_ends_with_2(flags: tuple[str, ...], named: str) -> None:
    run = subprocess.run(
        (*CLIENT, "agent", "lattice", *flags), capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert run.returncode == 2, run.stderr
    assert named in run.stderr
    assert "Traceback" not in run.stderr


async def test_it_waits_for_the_daemon_and_for_the_next_one(tmp_path: Path) -> None:
    daemon = FakeDaemon("a", FakeNetwork(), tmp_path)
    daemon.add_store(store(1))
    command = (*CLIENT, "agent", "lattice", "--json", "--socket", str(daemon.socket), "--no-watch")
    flags = ("--address", f"unix:{tmp_path}/none.sock", "--host-id", "h")
    async with Process("agent", *command, *flags) as agent:
        assert "UNAVAILABLE" in (await agent.wait_for("gone", DEADLINE))["detail"]
        for count in (1, 2):
            await daemon.start()
            node = await agent.wait_for("node", DEADLINE, count=count)
            assert (node["node"], node["stores"]) == (daemon.node_id, [store(1)])
            await daemon.stop()
            await agent.wait_for("gone", DEADLINE, after=float(node["ts"]))
