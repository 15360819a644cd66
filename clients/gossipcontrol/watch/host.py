"""Names of this host and of its boot."""

from __future__ import annotations

import hashlib
import os
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from gossipcontrol.system import macos, windows
from gossipcontrol.system.boot import boot_id as boot_id
from gossipcontrol.system.home import is_root, user_directory, user_name

MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
VARIABLE = "GOSSIPCONTROL_HOST_ID"


def host_id(environ: Mapping[str, str] | None = None, paths: Iterable[Path] = MACHINE_IDS) -> str:
    """GOSSIPCONTROL_HOST_ID, else the machine id, hashed with a key of our own, so that it cannot be used elsewhere."""
    environ = os.environ if environ is None else environ
    if environ.get(VARIABLE):
        return environ[VARIABLE]
    machine = next((machine for path in paths if (machine := _machine_id(path))), "")
    machine = machine or _system_id() or windows.machine_id() or f"{uuid.getnode():x}"
    return hashlib.blake2b(machine.encode(), key=b"gossipcontrol host", digest_size=16).hexdigest()


def _machine_id(path: Path) -> str:
    """The id in this file; empty where there is none yet, as in the images that containers and machines start from."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return "" if text == "uninitialized" else text


def _system_id() -> str:
    """What the system itself calls this host; empty where it has no name for it."""
    named = macos.named_text("kern.hostuuid") if sys.platform.startswith("freebsd") else ""
    return macos.host_uuid() if sys.platform == "darwin" else named


def runtime_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where watchers share state until the next boot: systemd's RUNTIME_DIRECTORY, else one of this user."""
    environ = os.environ if environ is None else environ
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"])
    if is_root():
        # macOS and the BSDs have no /run.
        return Path("/run" if sys.platform == "linux" else "/var/run", "gossipcontrol")
    # A user without a home has no directory to share either; the counter then goes by the boot's age.
    base = user_directory("XDG_RUNTIME_DIR", environ) or Path("/run/user", user_name())
    return base / "gossipcontrol"
