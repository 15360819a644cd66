"""Windows, through ctypes and the registry: clocks, names, memory, locks and who may read a file.

The functions are for Windows only, but the file is read and its types are checked on every system.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from ctypes import byref, c_int64, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

CRYPTOGRAPHY = r"SOFTWARE\Microsoft\Cryptography"
PREFETCH = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
SYSTEM_TIME_OF_DAY = 3
"""Class of NtQuerySystemInformation."""
TOKEN_QUERY, TOKEN_USER = 0x8, 1
DACL_SECURITY_INFORMATION = 0x4
SDDL_REVISION = 1
LOCKFILE_FAIL_IMMEDIATELY, LOCKFILE_EXCLUSIVE_LOCK = 0x1, 0x2
ERROR_LOCK_VIOLATION = 33
FAR = 0x7FFFFFFF
"""Upper half of the offset that is locked: locks of Windows keep readers out, so no byte of the content is locked."""

if sys.platform == "win32":
    import msvcrt
    import winreg

    @functools.cache
    def library(name: str) -> Any:
        """A library of the system; raises OSError."""
        return ctypes.WinDLL(name, use_last_error=True)

    def last_error(what: str) -> OSError:
        """The error of the last call of this thread."""
        return OSError(None, f"{what}: {ctypes.FormatError(ctypes.get_last_error())}", None, ctypes.get_last_error())

    def registry_value(key: str, name: str) -> object:
        """A value below HKEY_LOCAL_MACHINE; None where there is none."""
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_READ | winreg.KEY_WOW64_64KEY) as opened:
                found: object = winreg.QueryValueEx(opened, name)[0]
        except OSError:
            return None
        return found

    def os_handle(descriptor: int) -> int:
        """The handle behind a descriptor."""
        return msvcrt.get_osfhandle(descriptor)

else:

    def library(name: str) -> Any:
        """There is none; raises OSError."""
        raise OSError(f"{name} is a library of Windows")

    def last_error(what: str) -> OSError:
        """An error without a number."""
        return OSError(what)

    def registry_value(key: str, name: str) -> object:
        """There is no registry."""
        del key, name
        return None

    def os_handle(descriptor: int) -> int:
        """A descriptor is all there is."""
        return descriptor


def boottime() -> float:
    """Seconds since the boot, sleep included, to 16 ms."""
    ticks = library("kernel32").GetTickCount64
    ticks.restype = c_uint64
    milliseconds: int = ticks()
    return milliseconds / 1000


def awake_time() -> float:
    """Seconds since the boot without those of sleep."""
    time = c_uint64()
    library("kernel32").QueryUnbiasedInterruptTime(byref(time))
    return time.value / 10_000_000


def boot_id() -> str:
    """The number of the boot, which Windows counts; where it does not, the instant of the boot as the kernel keeps it.

    The kernel moves that instant with each step of the wall clock, and keeps by how much.
    """
    number = registry_value(PREFETCH, "BootId")
    if isinstance(number, int):
        return f"boot-{machine_id()[:8]}-{number}"
    time = (c_int64 * 6)()
    # Boot time, current time, bias of the time zone, its id, bias of the boot time, bias of sleep.
    library("ntdll").NtQuerySystemInformation(SYSTEM_TIME_OF_DAY, byref(time), ctypes.sizeof(time), None)
    return f"boot-{time[0] - time[4]}"


def machine_id() -> str:
    """The GUID that Windows was given when it was installed; empty where there is none."""
    found = registry_value(CRYPTOGRAPHY, "MachineGuid")
    return found if isinstance(found, str) else ""


class MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX."""

    _fields_ = (
        ("length", c_uint32),
        ("load", c_uint32),
        ("total", c_uint64),
        ("available", c_uint64),
        ("others", c_uint64 * 5),
    )


def total_memory() -> int:
    """Bytes of memory of the machine."""
    status = MemoryStatus(ctypes.sizeof(MemoryStatus))
    if not library("kernel32").GlobalMemoryStatusEx(byref(status)):
        raise last_error("GlobalMemoryStatusEx")
    return int(status.total)


class Overlapped(ctypes.Structure):
    """OVERLAPPED."""

    _fields_ = (
        ("internal", c_void_p),
        ("internal_high", c_void_p),
        ("offset", c_uint32),
        ("offset_high", c_uint32),
        ("event", c_void_p),
    )


def lock(descriptor: int, *, wait: bool) -> None:
    """Lock an open file; raises BlockingIOError when another process has it and ``wait`` is false, or OSError."""
    flags = LOCKFILE_EXCLUSIVE_LOCK | (0 if wait else LOCKFILE_FAIL_IMMEDIATELY)
    where = Overlapped(offset_high=FAR)
    if not library("kernel32").LockFileEx(c_void_p(os_handle(descriptor)), flags, 0, 1, 0, byref(where)):
        error = last_error("LockFileEx")
        raise BlockingIOError(str(error)) if getattr(error, "winerror", 0) == ERROR_LOCK_VIOLATION else error


def keep_private(path: Path) -> None:
    """Let only the user who runs this, and the system, read and write a file; raises OSError.

    The mode of a file means nothing on Windows: without this, everybody may read it who may read its directory.
    """
    advapi = library("advapi32")
    descriptor = c_void_p()
    text = f"D:P(A;;FA;;;{user_sid()})(A;;FA;;;SY)"
    if not advapi.ConvertStringSecurityDescriptorToSecurityDescriptorW(text, SDDL_REVISION, byref(descriptor), None):
        raise last_error("ConvertStringSecurityDescriptorToSecurityDescriptorW")
    try:
        if not advapi.SetFileSecurityW(str(path), DACL_SECURITY_INFORMATION, descriptor):
            raise last_error("SetFileSecurityW")
    finally:
        library("kernel32").LocalFree(descriptor)


def user_sid() -> str:
    """The security identifier of the user who runs this, as text; raises OSError."""
    kernel, advapi = library("kernel32"), library("advapi32")
    token, size = c_void_p(), c_uint32()
    if not advapi.OpenProcessToken(c_void_p(-1), TOKEN_QUERY, byref(token)):  # -1: this process
        raise last_error("OpenProcessToken")
    try:
        advapi.GetTokenInformation(token, TOKEN_USER, None, 0, byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        if not advapi.GetTokenInformation(token, TOKEN_USER, buffer, size, byref(size)):
            raise last_error("GetTokenInformation")
    finally:
        kernel.CloseHandle(token)
    text = ctypes.c_wchar_p()
    # TOKEN_USER begins with the pointer to the SID.
    if not advapi.ConvertSidToStringSidW(c_void_p.from_buffer(buffer), byref(text)):
        raise last_error("ConvertSidToStringSidW")
    try:
        return text.value or ""
    finally:
        kernel.LocalFree(text)
