"""The layouts and constants of Windows, compared with Windows' own headers."""

from __future__ import annotations

import ctypes
import struct

import pytest
from gossipcontrol.system import windows
from gossipcontrol.watch import windows_layout as layout

from tests.kit import headers

pytestmark = [
    pytest.mark.not_on_windows("the headers are compared on Linux"),
    pytest.mark.skipif(bool(headers.what_is_missing()), reason=headers.what_is_missing() or "nothing missing"),
]

INCLUDES = ("winsock2.h", "ws2ipdef.h", "iphlpapi.h", "windows.h")
FLAGS = "((MIB_IF_ROW2 *)0)->InterfaceAndOperStatusFlags"


def rows() -> dict[str, int]:
    """What the layouts take for granted, by the expression of C that says it."""
    said: dict[str, int] = {}
    for one in layout.LAYOUTS:
        said[f"sizeof({one.name})"] = one.size
        for member, offset, kind in one.fields.values():
            said[f"offset({one.name}, {member})"] = offset
            said[f"sizeof((({one.name} *)0)->{member})"] = struct.calcsize(f"<{kind}")
    said |= {f"offset(MIB_{name}_TABLE2, Table)": layout.FIRST_ROW for name in ("IF", "IPFORWARD")}
    said |= {f"offset(MIB_{name}_TABLE, Table)": layout.FIRST_ROW for name in ("UNICASTIPADDRESS", "IPINTERFACE")}
    said |= {"offset(SOCKADDR_INET, si_family)": 0}
    said |= {"offset(SOCKADDR_INET, Ipv4.sin_addr)": 4, "offset(SOCKADDR_INET, Ipv6.sin6_addr)": 8}
    return said


NETWORK_CONSTANTS = {
    "AF_UNSPEC": layout.AF_UNSPEC, "AF_INET": layout.AF_INET, "AF_INET6": layout.AF_INET6,
    "MibAddInstance": layout.ADD, "MibDeleteInstance": layout.DELETE, "MibInitialNotification": layout.INITIAL,
    "IfOperStatusUp": layout.IF_UP, "MediaConnectStateDisconnected": layout.MEDIA_DISCONNECTED,
    "IF_TYPE_SOFTWARE_LOOPBACK": layout.LOOPBACK, "IF_TYPE_TUNNEL": layout.TUNNEL, "IF_TYPE_PPP": layout.PPP,
    "IF_TYPE_PROP_VIRTUAL": layout.VIRTUAL,
    "IpDadStateDeprecated": layout.DEPRECATED, "IpDadStatePreferred": layout.PREFERRED,
    "NlnsProbe": layout.PROBE,
    "ERROR_NOT_FOUND": layout.NOT_FOUND, "ERROR_NOT_SUPPORTED": layout.NOT_SUPPORTED,
}  # fmt: skip
BASE_CONSTANTS = {
    "PBT_APMSUSPEND": layout.PBT_APMSUSPEND,
    "PBT_APMRESUMESUSPEND": layout.PBT_APMRESUMESUSPEND, "PBT_APMRESUMEAUTOMATIC": layout.PBT_APMRESUMEAUTOMATIC,
    "LOCKFILE_FAIL_IMMEDIATELY": windows.LOCKFILE_FAIL_IMMEDIATELY,
    "LOCKFILE_EXCLUSIVE_LOCK": windows.LOCKFILE_EXCLUSIVE_LOCK, "ERROR_LOCK_VIOLATION": windows.ERROR_LOCK_VIOLATION,
    "TOKEN_QUERY": windows.TOKEN_QUERY, "TokenUser": windows.TOKEN_USER,
    "DACL_SECURITY_INFORMATION": windows.DACL_SECURITY_INFORMATION,
    "sizeof(MEMORYSTATUSEX)": ctypes.sizeof(windows.MemoryStatus),
    "offset(MEMORYSTATUSEX, ullTotalPhys)": windows.MemoryStatus.total.offset,
    "sizeof(OVERLAPPED)": ctypes.sizeof(windows.Overlapped),
    "offset(OVERLAPPED, OffsetHigh)": windows.Overlapped.offset_high.offset,
    "offset(TOKEN_USER, User.Sid)": 0,
}  # fmt: skip


def test_rows_and_constants_are_those_of_the_headers() -> None:
    expected = rows() | NETWORK_CONSTANTS | BASE_CONSTANTS
    assert headers.evaluate(headers.WINDOWS, INCLUDES, list(expected)) == expected
