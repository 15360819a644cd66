"""Hosts in network namespaces, on one bridge or two, whose links fail as they do in the field."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from gossipcontrol.system.home import is_root

GATEWAY = "10.77.0.1"
"""The router of a network as it is made."""
_NUMBERS = itertools.count(1)
OUTSIDE = "10.77.0.254"
"""Address of the process that has joined its own network."""
_CLONE_NEWNET = 0x40000000


def what_is_missing() -> str:
    """What this machine lacks to make hosts, and what to do about it; empty when it lacks nothing."""
    if shutil.which("ip") is None:
        return "the program ip is missing: apt-get install iproute2"
    if shutil.which("iptables") is None:
        return "the program iptables is missing: apt-get install iptables"
    if not is_root():
        return "network namespaces need root: run this as root, or with sudo"
    made = subprocess.run(
        ("ip", "netns", "add", f"gc-probe-{os.getpid()}"), capture_output=True, text=True, check=False
    )
    if made.returncode:
        return f"network namespaces cannot be made here: {made.stderr.strip()}"
    subprocess.run(("ip", "netns", "delete", f"gc-probe-{os.getpid()}"), check=True)
    return ""


needs_namespaces = (
    pytest.mark.not_on_windows("network namespaces are Linux's")
    if sys.platform == "win32"
    else pytest.mark.skipif(bool(what_is_missing()), reason=what_is_missing() or "nothing is missing")
)


def leave_for_own_namespace() -> None:
    """Move this process into a network namespace of its own, which can ``join`` a network; raises OSError.

    Threads that run already would stay behind, so it comes first of all.
    """
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "threads would stay in the namespace that is left"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(("ip", "link", "set", "lo", "up"), check=True)


class Host:
    """One host: a namespace with the link ``eth0``, an address, and a default route through the hub."""

    def __init__(self, prefix: str, number: int, bridge: str = "br0") -> None:
        self.number = number
        self.bridge = bridge
        self.namespace = f"{prefix}h{number}"
        self.address = f"10.77.0.{number + 1}"
        self.gateway = GATEWAY
        self._hub = f"{prefix}hub"
        self._port = f"p{number}"

    async def make(self) -> None:
        """Create the host and connect it to the hub's bridge."""
        await _ip(f"netns add {self.namespace}")
        await _ip(f"link add {self._port} netns {self._hub} type veth peer name eth0 netns {self.namespace}")
        await _ip(f"-n {self._hub} link set {self._port} master {self.bridge} up")
        await _ip(
            f"-n {self.namespace} -batch -",
            f"link set lo up\naddress add {self.address}/24 dev eth0\nlink set eth0 up\n{self._default_route}\n",
        )

    @property
    def _default_route(self) -> str:
        return f"route add default via {self.gateway} dev eth0"

    async def link_down(self) -> None:
        """Take the link down; the kernel removes its routes."""
        await _ip(f"-n {self.namespace} link set eth0 down")

    async def link_up(self) -> None:
        """Bring the link up, and the route back as a network manager does."""
        await _ip(f"-n {self.namespace} -batch -", f"link set eth0 up\n{self._default_route}\n")

    async def unplug(self) -> None:
        """Pull the cable: the carrier goes, addresses and routes stay."""
        await _ip(f"-n {self._hub} link set {self._port} down")

    async def plug(self) -> None:
        """Put the cable back."""
        await _ip(f"-n {self._hub} link set {self._port} up")

    async def move(self, address: str, gateway: str = "") -> None:
        """Give the host another address, as a new DHCP lease does; with another gateway, as a new router does."""
        old, self.address, self.gateway = self.address, address, gateway or self.gateway
        # The old one first: while it is the primary of its subnet, the kernel deletes the others with it.
        lines = f"address delete {old}/24 dev eth0\naddress add {address}/24 dev eth0\n"
        await _ip(f"-n {self.namespace} -batch -", lines + self._default_route.replace("add", "replace") + "\n")

    async def drop(self, *chains: str) -> None:
        """Drop every packet, without a link event: ``INPUT`` the incoming ones, ``OUTPUT`` the outgoing ones."""
        for chain in chains:
            await self.run("iptables", "-A", chain, "!", "-i" if chain == "INPUT" else "-o", "lo", "-j", "DROP")

    async def cut_from(self, *others: str) -> None:
        """Drop every packet to and from these addresses, without a link event, all from one instant on."""
        rules = "".join(f"-A INPUT -s {one} -j DROP\n-A OUTPUT -d {one} -j DROP\n" for one in others)
        command = ("ip", "netns", "exec", self.namespace, "iptables-restore", "--noflush")
        await _run(*command, lines=f"*filter\n{rules}COMMIT\n")

    async def drop_large(self, chain: str = "OUTPUT", size: int = 600) -> None:
        """Drop UDP packets of at least this size (bytes): a path-MTU black hole that small messages pass."""
        await self.run("iptables", "-A", chain, "-p", "udp", "-m", "length", "--length", f"{size}:65535", "-j", "DROP")

    async def publish(self, port: int) -> None:
        """Let other hosts reach the program that listens on loopback at this port, as a proxy does."""
        await self.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet")
        to = ("-j", "DNAT", "--to-destination", f"127.0.0.1:{port}")
        await self.run("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "--dport", str(port), *to)

    async def mend(self) -> None:
        """Stop dropping packets."""
        await self.run("iptables", "-F")

    async def run(self, *command: str) -> None:
        """Run a command in the host's namespace; raises CalledProcessError."""
        await _run("ip", "netns", "exec", self.namespace, *command)


class Network:
    """A hub and its hosts; ``async with`` removes them at the end, and kills the processes that still run in them.

    ``beyond`` of the hosts are on a second bridge, behind a cable. Cutting it separates them from the others and gives
    no host a link event, as when the switch between two rooms fails.
    """

    def __init__(self, hosts: int, beyond: int = 0) -> None:
        prefix = f"gc{os.getpid()}-{next(_NUMBERS)}"
        self.hub = f"{prefix}hub"
        self._beyond = beyond
        self._gateways = {GATEWAY}
        near = hosts - beyond
        self.hosts = [Host(prefix, number, "br0" if number <= near else "br1") for number in range(1, hosts + 1)]

    async def __aenter__(self) -> Self:
        try:
            await self._make()
        except BaseException:  # cancelled, for one
            await self._remove()
            raise
        return self

    async def _make(self) -> None:
        await _ip(f"netns add {self.hub}")
        await _ip(
            f"-n {self.hub} -batch -",
            f"link set lo up\nlink add br0 type bridge\naddress add {GATEWAY}/24 dev br0\nlink set br0 up\n",
        )
        if self._beyond:
            await _ip(
                f"-n {self.hub} -batch -",
                "link add br1 type bridge\nlink set br1 up\nlink add cable0 type veth peer name cable1\n"
                "link set cable0 master br0 up\nlink set cable1 master br1 up\n",
            )
        for host in self.hosts:
            await host.make()

    async def join(self) -> None:
        """Connect this process to the first bridge, which must be in a namespace of its own."""
        await _ip(f"link add joined netns {self.hub} type veth peer name eth0")
        await _ip(f"-n {self.hub} link set joined master br0 up")
        await _ip("-batch -", f"address add {OUTSIDE}/24 dev eth0\nlink set eth0 up\n")

    async def add_subnet(self, gateway: str) -> None:
        """Let the hub be the gateway of one more subnet, as the router that replaces another; once."""
        if gateway in self._gateways:
            return
        self._gateways.add(gateway)
        await _ip(f"-n {self.hub} address add {gateway}/24 dev br0")

    async def add_port(self, host: Host, name: str) -> None:
        """Plug one more link of a host into its bridge, under this name."""
        port = f"q{host.number}"
        await _ip(f"link add {port} netns {self.hub} type veth peer name {name} netns {host.namespace}")
        await _ip(f"-n {self.hub} link set {port} master {host.bridge} up")
        await _ip(f"-n {host.namespace} link set {name} up")

    async def on_hub(self, *command: str) -> None:
        """Run a command in the hub's namespace; raises CalledProcessError."""
        await _run("ip", "netns", "exec", self.hub, *command)

    async def cut(self) -> None:
        """Cut the cable between the bridges."""
        await _ip(f"-n {self.hub} link set cable0 down")

    async def heal(self) -> None:
        """Put the cable back."""
        await _ip(f"-n {self.hub} link set cable0 up")

    async def narrow(self) -> None:
        """Lose packets of 1,280 bytes and more between all hosts, without an ICMP message: a path-MTU black hole."""
        for host in self.hosts:
            # The kernel cuts what a program gave it in one piece before the link, not behind it.
            await host.run("ip", "link", "set", "eth0", "gso_max_segs", "1")
        await self.on_hub("sh", "-c", "echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables")
        await self.on_hub("iptables", "-A", "FORWARD", "-m", "length", "--length", "1280:65535", "-j", "DROP")

    async def lost(self) -> int:
        """How many packets were lost since the path is narrow."""
        words = await _output("ip", "netns", "exec", self.hub, "iptables", "-nvxL", "FORWARD")
        return int(words[words.index("DROP") - 2])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._remove()

    async def _remove(self) -> None:
        """Kill what still runs in the hosts, and remove those that were made."""
        made = set(await _output("ip", "netns", "list"))
        for namespace in (*(host.namespace for host in self.hosts), self.hub):
            if namespace in made:
                await _kill_in(namespace)
                await _ip(f"netns delete {namespace}")


async def _kill_in(namespace: str) -> None:
    for pid in await _output("ip", "netns", "pids", namespace):
        with contextlib.suppress(subprocess.CalledProcessError):  # it may have ended meanwhile
            await _run("kill", "-9", pid)


async def _output(*command: str) -> list[str]:
    """The words that a command prints."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return output.decode().split()


async def _ip(arguments: str, lines: str | None = None) -> None:
    await _run("ip", *arguments.split(), lines=lines)


async def _run(*command: str, lines: str | None = None) -> None:
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate(None if lines is None else lines.encode())
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode or 1, command, output, errors)
