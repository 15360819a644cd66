"""Real router advertisements: radvd at the hub of a network."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.kit.network import Network
from tests.kit.process import Process

ROUTER = "fe80::77"
"""The link-local address of the hub's bridge, from which it advertises."""
CONFIG = """interface br0 {{
  AdvSendAdvert on;
  MinRtrAdvInterval 3;
  MaxRtrAdvInterval 4;
  AdvDefaultLifetime 1800;
  prefix {prefix}/64 {{ AdvOnLink on; AdvAutonomous on; }};
}};
"""


def what_is_missing() -> str:
    """What to install; empty when nothing is missing."""
    return "" if shutil.which("radvd") else "the program radvd is missing: apt-get install radvd"


async def advertise(network: Network, prefix: str, directory: Path) -> Process:
    """A router that advertises itself and a prefix, such as ``2001:db8::``; at its end it takes itself back."""
    config = directory / "radvd.conf"
    config.write_text(CONFIG.format(prefix=prefix), encoding="ascii")
    await network.on_hub("sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding")
    await network.on_hub("ip", "address", "replace", f"{ROUTER}/64", "dev", "br0", "nodad")
    return Process(
        "radvd", "ip", "netns", "exec", network.hub, "radvd", "--nodaemon", "--logmethod", "stderr", "--debug", "1",
        "--config", str(config), "--pidfile", f"{directory}/radvd.pid",
    )  # fmt: skip
