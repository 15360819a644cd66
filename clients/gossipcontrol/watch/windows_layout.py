"""Layouts and constants of Windows' IP Helper and power notifications, as data.

From netioapi.h, ifdef.h, ws2ipdef.h, nldef.h and winuser.h; a test compares each with those headers.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 23
ADD, DELETE, INITIAL = 1, 2, 3
"""MibAddInstance, MibDeleteInstance, MibInitialNotification; a row is only missing with the last."""
IF_UP, MEDIA_DISCONNECTED = 1, 2
"""IfOperStatusUp, MediaConnectStateDisconnected."""
LOOPBACK, TUNNEL, PPP, VIRTUAL = 24, 131, 23, 53
"""IF_TYPE_*; Wintun and other software names itself propVirtual."""
HARDWARE, FILTER = 0x1, 0x2
"""Bits of InterfaceAndOperStatusFlags: HardwareInterface, FilterInterface."""
DEPRECATED, PREFERRED = 3, 4
"""IpDadStateDeprecated, IpDadStatePreferred."""
PROBE = 2
"""NlnsProbe; in this state and the higher ones the hardware address of a neighbour was found valid."""
NOT_FOUND, NOT_SUPPORTED = 1168, 50
"""ERROR_NOT_FOUND, as an empty table has it; ERROR_NOT_SUPPORTED."""

DEVICE_NOTIFY_CALLBACK = 2
PBT_APMSUSPEND, PBT_APMRESUMESUSPEND, PBT_APMRESUMEAUTOMATIC = 0x4, 0x7, 0x12

FIRST_ROW = 8
"""Offset of the rows in a table, behind the number of them."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A structure: its name and size in C, and of each field that is read, the member, the offset and the format."""

    name: str
    size: int
    fields: Mapping[str, tuple[str, int, str]]
    struct: struct.Struct = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "struct", struct.Struct(_format(self.size, self.fields)))

    def rows(self, data: bytes) -> Iterator[dict[str, int | bytes]]:
        """The fields of each row of a table, by their own names; what is left over at the end is no row."""
        names = tuple(self.fields)
        whole = len(data) - len(data) % self.size
        for values in self.struct.iter_unpack(memoryview(data)[:whole]):
            yield dict(zip(names, values, strict=True))

    def pack(self, **values: int | bytes) -> bytes:
        """A row with these fields, the others zero."""
        zero = {name: b"" if kind.endswith("s") else 0 for name, (_, _, kind) in self.fields.items()}
        if unknown := values.keys() - zero.keys():
            raise ValueError(f"{self.name} has no {', '.join(sorted(unknown))}")
        return self.struct.pack(*(zero | values).values())


def _format(size: int, fields: Mapping[str, tuple[str, int, str]]) -> str:
    """The format of a whole row; the fields must be in the order of their offsets."""
    parts, at = ["<"], 0
    for _, offset, kind in fields.values():
        parts.append(f"{offset - at}x{kind}")
        at = offset + struct.calcsize(f"<{kind}")
    return "".join([*parts, f"{size - at}x"])


LINK = Layout("MIB_IF_ROW2", 1352, {
    "luid": ("InterfaceLuid", 0, "Q"),
    "index": ("InterfaceIndex", 8, "I"),
    "alias": ("Alias", 28, "514s"),
    "type": ("Type", 1128, "I"),
    "flags": ("InterfaceAndOperStatusFlags", 1152, "B"),
    "status": ("OperStatus", 1156, "I"),
    "media": ("MediaConnectState", 1164, "I"),
})  # fmt: skip
ADDRESS = Layout("MIB_UNICASTIPADDRESS_ROW", 80, {
    "address": ("Address", 0, "28s"),
    "luid": ("InterfaceLuid", 32, "Q"),
    "index": ("InterfaceIndex", 40, "I"),
    "prefix": ("OnLinkPrefixLength", 60, "B"),
    "skipped": ("SkipAsSource", 61, "B"),
    "state": ("DadState", 64, "I"),
})  # fmt: skip
ROUTE = Layout("MIB_IPFORWARD_ROW2", 104, {
    "luid": ("InterfaceLuid", 0, "Q"),
    "index": ("InterfaceIndex", 8, "I"),
    "destination": ("DestinationPrefix.Prefix", 12, "28s"),
    "prefix": ("DestinationPrefix.PrefixLength", 40, "B"),
    "gateway": ("NextHop", 44, "28s"),
    "metric": ("Metric", 84, "I"),
})  # fmt: skip
INTERFACE = Layout("MIB_IPINTERFACE_ROW", 168, {
    "family": ("Family", 0, "H"),
    "luid": ("InterfaceLuid", 8, "Q"),
    "index": ("InterfaceIndex", 16, "I"),
    "metric": ("Metric", 148, "I"),
    "connected": ("Connected", 156, "B"),
})  # fmt: skip
NEIGHBOR = Layout("MIB_IPNET_ROW2", 88, {
    "address": ("Address", 0, "28s"),
    "index": ("InterfaceIndex", 28, "I"),
    "hardware": ("PhysicalAddress", 40, "32s"),
    "length": ("PhysicalAddressLength", 72, "I"),
    "state": ("State", 76, "I"),
})  # fmt: skip
LAYOUTS = (LINK, ADDRESS, ROUTE, INTERFACE, NEIGHBOR)
