"""Real DHCP: dnsmasq at the hub of a network, and udhcpc on its hosts."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.kit.network import Host, Network
from tests.kit.process import Process

SCRIPT = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev "$interface"
ip address add "$ip/$mask" dev "$interface"
ip route replace default via "$router" dev "$interface"
"""
"""What udhcpc does with a lease. The script of the distribution would change the machine's resolv.conf too."""


def what_is_missing() -> str:
    """The programs that this machine lacks, and how to install them; empty when it lacks nothing."""
    packages = {"udhcpc": "udhcpc", "dnsmasq": "dnsmasq-base"}
    lacking = [package for program, package in packages.items() if shutil.which(program) is None]
    return f"programs are missing: apt-get install {' '.join(lacking)}" if lacking else ""


def dhcp_server(network: Network, gateway: str, directory: Path) -> Process:
    """A DHCP server for the subnet of this gateway, which the hub must have."""
    subnet = gateway.rpartition(".")[0]
    return Process(
        "dnsmasq", "ip", "netns", "exec", network.hub, "dnsmasq", "--keep-in-foreground", "--log-facility=-",
        "--conf-file=/dev/null", "--port=0", "--no-ping", "--user=root", "--interface=br0", "--pid-file=",
        f"--dhcp-range={subnet}.150,{subnet}.199,1h", f"--dhcp-option=option:router,{gateway}",
        f"--dhcp-leasefile={directory}/leases", "--dhcp-authoritative",
    )  # fmt: skip


async def get_lease(host: Host, directory: Path) -> None:
    """Let a host take the lease that it is offered; raises CalledProcessError when there is none."""
    await host.run("udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "10", "-T", "1", "-s", _script(host, directory))


def lease_kept(host: Host, directory: Path) -> Process:
    """A client that takes a lease and renews it, at SIGUSR1 too."""
    command = ("udhcpc", "-i", "eth0", "-f", "-t", "10", "-T", "1", "-s", _script(host, directory))
    return Process("udhcpc", *command, host=host)


def _script(host: Host, directory: Path) -> str:
    script = directory / f"lease-{host.number}"
    script.write_text(SCRIPT, encoding="ascii")
    script.chmod(0o755)
    return str(script)
