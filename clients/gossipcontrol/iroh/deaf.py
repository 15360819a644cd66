"""Make UDP sockets deaf that the wheel keeps open: it has no call that closes them at once. Linux only."""

from __future__ import annotations

import ctypes
import os
import socket
import stat
import struct
import sys
from collections.abc import Mapping
from pathlib import Path

ATTACH_FILTER = 26
"""``SO_ATTACH_FILTER`` of Linux, which Python does not name."""
_DROP_ALL = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
"""One instruction of classic BPF: keep 0 bytes of the packet."""
_VERSIONS = {socket.AF_INET: 4, socket.AF_INET6: 6}


def deafen(ports: Mapping[int, int]) -> int:
    """Let this process's UDP sockets at these ports, by IP version, receive nothing more; returns how many there were.

    They go on sending.
    """
    if sys.platform == "linux":
        return sum(_deafen(int(one.name), ports) for one in Path("/proc/self/fd").iterdir())
    else:  # noqa: RET505 - type checkers take code behind the other branch for unreachable elsewhere
        return 0


def _deafen(descriptor: int, ports: Mapping[int, int]) -> bool:
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return False
        with socket.socket(fileno=os.dup(descriptor)) as one:
            version = _VERSIONS.get(one.family, 0)
            if one.type is not socket.SOCK_DGRAM or version not in ports or one.getsockname()[1] != ports[version]:
                return False
            one.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(_DROP_ALL)))
            return True
    except OSError:  # closed meanwhile
        return False
