"""The hosts on which replicas are cut off, as the kit makes them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

from tests.kit.network import Host, Network, leave_for_own_namespace, needs_namespaces
from tests.kit.process import Process

PORT = 7443
LISTENER = f"""
import socket
with socket.create_server(("127.0.0.1", {PORT})) as listener:
    print('{{"event": "listens"}}', flush=True)
    while True:
        listener.accept()[0].close()
"""


@needs_namespaces
def test_a_host_is_cut_off_from_some_and_its_clients_outside_still_reach_it() -> None:
    """In a process of its own, which leaves this namespace."""
    repository = Path(__file__).parents[3]
    ended = subprocess.run((sys.executable, "-m", __name__), cwd=repository, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"before": [True, True], "cut": [True, False], "mended": [True, True]}


async def look() -> dict[str, list[bool]]:
    """Whether this process and the second host reach the first, before it is cut off from that host, and after."""
    async with Network(2) as network:
        await network.join()
        first, second = network.hosts
        async with Process("listener", sys.executable, "-c", LISTENER, host=first) as listener:
            await listener.wait_for("listens", 30)
            await first.publish(PORT)
            seen = {"before": [await reaches(first), await reaches(first, second)]}
            await first.cut_from(second.address)
            seen["cut"] = [await reaches(first), await reaches(first, second, within=0.3)]
            await first.mend()
            seen["mended"] = [await reaches(first), await reaches(first, second)]
            return seen


async def reaches(to: Host, host: Host | None = None, within: float = 20.0) -> bool:
    """Whether a connection comes about, from a host or from this process."""
    enter = ("ip", "netns", "exec", host.namespace) if host else ()
    command = (*enter, "timeout", f"{within}", "bash", "-c", f"exec 3<>/dev/tcp/{to.address}/{PORT}")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0


if __name__ == "__main__":
    leave_for_own_namespace()
    print(json.dumps(asyncio.run(look())))
