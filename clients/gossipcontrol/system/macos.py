"""macOS, and what FreeBSD names alike: the ids of the host and of its boot, asked through the C library."""

from __future__ import annotations

import ctypes
import uuid

LONGEST = 128
"""Most bytes of a text that is asked for."""


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def host_uuid(library: str | None = None) -> str:
    """The UUID of this Mac's hardware (gethostuuid(2)); empty where the system does not say it."""
    try:
        ask = ctypes.CDLL(library).gethostuuid
    except (OSError, AttributeError):
        return ""
    ask.argtypes = (ctypes.c_char_p, ctypes.POINTER(_Timespec))
    ask.restype = ctypes.c_int
    found = ctypes.create_string_buffer(16)
    if ask(found, ctypes.byref(_Timespec(1, 0))) or not any(found.raw):
        return ""
    return str(uuid.UUID(bytes=found.raw))


def named_text(name: str, library: str | None = None) -> str:
    """A text that the kernel keeps under a name (sysctlbyname(3)); empty where there is none.

    ``kern.bootsessionuuid`` of macOS is another one after each boot; ``kern.hostuuid`` of FreeBSD names the host.
    """
    try:
        ask = ctypes.CDLL(library).sysctlbyname
    except (OSError, AttributeError):
        return ""
    size_pointer = ctypes.POINTER(ctypes.c_size_t)
    ask.argtypes = (ctypes.c_char_p, ctypes.c_void_p, size_pointer, ctypes.c_void_p, ctypes.c_size_t)
    ask.restype = ctypes.c_int
    found, size = ctypes.create_string_buffer(LONGEST), ctypes.c_size_t(LONGEST)
    if ask(name.encode(), found, ctypes.byref(size), None, 0):
        return ""
    return found.raw[: size.value].rstrip(b"\0").decode("ascii", errors="ignore")
