"""Programs in the Windows Python that dev/windows.sh prepares, each under a Wine of its own in a host's namespace."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.kit import network
from tests.kit.network import Host
from tests.kit.process import Process

TOP = Path(__file__).parents[2]
HOME = TOP / ".venv/windows"
SHARED = ("drive_c", "dosdevices")
"""What a Wine needs beside its registry; nothing here writes to it."""


def what_is_missing() -> str:
    """What this machine lacks; empty when it lacks nothing."""
    if shutil.which("wine") is None or not (HOME / "python/python.exe").exists() or not (HOME / "prefix").exists():
        return "Windows is missing: dev/windows.sh prepares it (apt-get install wine wine64 gcc-mingw-w64-x86-64-win32)"
    return network.what_is_missing()


def windows_path(path: Path) -> str:
    """How Wine names a path of this machine."""
    return "Z:" + str(path).replace("/", "\\")


def make_prefix(directory: Path) -> Path:
    """A registry of its own, so that a server of its own is started, which is then in the namespace."""
    prefix = directory / "prefix"
    prefix.mkdir()
    for registry in (HOME / "prefix").glob("*.reg"):
        shutil.copy(registry, prefix)
    for name in (*SHARED, ".update-timestamp"):
        if (HOME / "prefix" / name).exists():
            (prefix / name).symlink_to(HOME / "prefix" / name)
    return prefix


def windows_watcher(host: Host, directory: Path) -> Process:
    """The host's watcher as it is on Windows; it finds no service."""
    environment = {
        "WINEPREFIX": str(make_prefix(directory)),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": ";".join(windows_path(TOP / root) for root in ("proto", "server", "clients")),
        "RUNTIME_DIRECTORY": windows_path(directory),
    }
    command = ("wine", str(HOME / "python/python.exe"), "-u", "-m", "gossipcontrol.cli", "watch", "--json")
    return Process("watcher on Windows", *command, "--address", "127.0.0.1:1", host=host, environment=environment)
