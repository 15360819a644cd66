"""What the doctor looks at on this host: descriptors and disk of the service, the clock, the page of metrics."""

from __future__ import annotations

import os
import re
import socket
import struct
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from gossipcontrol.cli.trouble import Trouble

FULL = 0.9
"""Share of the descriptors, or of the disk, from which on it is nearly full."""
FREE_BYTES = 64 * 1024 * 1024
"""Bytes that the disk of the state should have free."""
FETCH_TIME = 1.0
"""Seconds for the page of the metrics."""
STATE = re.compile(r"\.db(-wal)?$")
SAMPLE = re.compile(r"^(?P<name>\w+)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$", re.MULTILINE)
Report = list[tuple[str, str]]
"""What is as it should be: subject and sentence."""


def service_pid(address: str) -> int | None:
    """The process that listens at a Unix socket; None where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if sys.platform == "linux" and option is not None and address.startswith("unix:"):
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as connection, suppress(OSError):
            connection.settimeout(FETCH_TIME)
            connection.connect(address.removeprefix("unix:"))
            pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
            return int(pid) or None
    return None


def check_descriptors(pid: int, good: Report) -> Iterator[Trouble]:
    """Whether the service has descriptors left for clients."""
    try:
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii", errors="replace")
    except OSError:
        yield Trouble("descriptors", f"the descriptors of the service (process {pid}) cannot be seen",
                      "run the doctor as root, or as the user of the service", is_wrong=False)  # fmt: skip
        return
    found = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
    most = int(found[1]) if found else 0
    if most and used >= FULL * most:
        yield Trouble("descriptors", f"the service uses {used} of {most} file descriptors: new clients will be refused",
                      "raise LimitNOFILE of its unit (or ulimit -n), and restart it")  # fmt: skip
    else:
        good.append(("descriptors", f"{used} of {most or 'any number'} in use"))


def check_disk(pid: int, good: Report) -> Iterator[Trouble]:
    """Whether the file system of the state has room and can be written."""
    directory = _state_directory(pid)
    if sys.platform != "win32" and directory is not None:
        return _check_file_system(directory, good)
    good.append(("disk", "no state file of the service can be seen"))
    return iter(())


if sys.platform != "win32":

    def _check_file_system(directory: Path, good: Report) -> Iterator[Trouble]:
        try:
            system = os.statvfs(directory)
        except OSError as error:
            yield Trouble(
                "disk", f"{directory} cannot be looked at: {error.strerror}", "run the doctor as root", is_wrong=False
            )
            return
        free = system.f_bavail * system.f_frsize
        if system.f_flag & os.ST_RDONLY:
            said = f"the file system of {directory} is read-only"
            yield Trouble("disk", said, "mount it writable; the service goes on")
        elif free < FREE_BYTES or system.f_favail == 0 < system.f_files:
            said = f"{free / 1e6:.0f} MB are free in {directory}: triggers will be refused"
            yield Trouble("disk", said, "make room; the service goes on by itself")
        else:
            good.append(("disk", f"{free / 1e9:.1f} GB free in {directory}"))


def _state_directory(pid: int) -> Path | None:
    """Where the service has its state file open."""
    with suppress(OSError):
        for link in list(Path(f"/proc/{pid}/fd").iterdir()):
            with suppress(FileNotFoundError):  # closed meanwhile
                target = link.readlink()
                if STATE.search(target.name):
                    return target.parent
    return None


def check_clock(good: Report, now: float | None = None) -> Iterator[Trouble]:
    """Whether the wall clock can be right: it is read across boots only, and shown in logs."""
    now = time.time() if now is None else now
    installed = Path(__file__).stat().st_mtime
    if now < installed - 86_400:
        yield Trouble("clock", f"the clock of this host says {datetime.fromtimestamp(now, UTC):%Y-%m-%d}, "
                      "before this version was installed", "set it, or run an NTP client")  # fmt: skip
    else:
        good.append(("clock", f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"))


def check_metrics(address: str, good: Report) -> Iterator[Trouble]:
    """The version of the service, and whether a watcher was seen, from its page of metrics."""
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=FETCH_TIME) as page:
            text = page.read().decode(errors="replace")
    except (OSError, ValueError):
        yield Trouble("metrics", f"no page of metrics at {address}, so its version and watchers cannot be seen",
                      "set metrics.address in the configuration, or give --metrics", is_wrong=False)  # fmt: skip
        return
    samples = [(one["name"], one["labels"] or "", float(one["value"])) for one in SAMPLE.finditer(text)]
    yield from _versions(samples, good)
    changes = sum(value for name, _, value in samples if name == "gossipcontrol_network_changes_total")
    if changes:
        good.append(("watcher", f"{changes:.0f} changes of hosts were reported since the service started"))
    else:
        yield Trouble("watcher", "no watcher has reported since the service started",
                      "run gossipcontrol watch on each host with nodes; one that runs reports the first change",
                      is_wrong=False)  # fmt: skip


def _versions(samples: list[tuple[str, str, float]], good: Report) -> Iterator[Trouble]:
    own = version("gossipcontrol")
    labels = next((labels for name, labels, _ in samples if name == "gossipcontrol_build_info"), "")
    found = re.search(r'\bversion="([^"]*)"', labels)
    if found and found[1] != own:
        yield Trouble("versions", f"the service is of version {found[1]}, this command of {own}",
                      "upgrade the older one; until then what it does not know is shown as a number",
                      is_wrong=False)  # fmt: skip
    elif found:
        good.append(("versions", f"service and command are of version {own}"))
