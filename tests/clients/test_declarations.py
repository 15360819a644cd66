"""How the watcher calls the libraries of other systems, compared with packages generated from the makers' own sources.

IOKit's headers are not among those that the tests of layouts read, and Microsoft's lack one structure.
"""

from __future__ import annotations

import ctypes
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from gossipcontrol.watch import iokit, windows_power
from gossipcontrol.watch import windows_layout as layout

from tests.kit.markdown import TOP

pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo: install Rust 1.88 or newer"),
]

IOKIT = (
    "IORegisterForSystemPower", "IONotificationPortSetDispatchQueue", "IOAllowPowerChange",
    "IODeregisterForSystemPower", "IOServiceClose", "IONotificationPortDestroy",
)  # fmt: skip
TYPES: dict[str, Any] = {
    "": None,
    "isize": ctypes.c_ssize_t,
    "u32": ctypes.c_uint32,
    "*const c_char": ctypes.c_char_p,
    "libc::mach_port_t": ctypes.c_uint32,
    "libc::kern_return_t": ctypes.c_int32,
    "core::ffi::c_int": ctypes.c_int32,
}
"""What stands for a type of Rust; every pointer to something that is not looked into is ``void *``."""


class Package:
    """The source of a package of Rust."""

    def __init__(self, name: str, *files: str) -> None:
        self._text = "\n".join((folder(name) / "src" / one).read_text(encoding="utf-8") for one in files)

    def function(self, name: str) -> tuple[Any, list[Any]]:
        """Its result and its arguments."""
        [(arguments, result), *_] = re.findall(rf"fn {name}\(([^)]*)\)(?: -> ([^;{{]+))?[;)]", self._text)
        return self.kind(result), [self.kind(one.partition(": ")[2]) for one in _split(arguments)]

    def kind(self, text: str) -> Any:
        """The type of ctypes for one of Rust."""
        text = text.strip()
        if text in TYPES:
            return TYPES[text]
        if alias := re.search(rf"pub type {re.escape(text)} =\s+([^;]+);", self._text):
            return self.kind(alias[1])
        if called := re.fullmatch(r"Option<unsafe extern \"[^\"]+\" fn\((.*)\)(?: -> (\w+))?>", text):
            arguments = [self.kind(one.rpartition(": ")[2]) for one in _split(called[1])]
            callback: Any = ctypes.CFUNCTYPE(self.kind(called[2] or ""), *arguments)
            return callback
        if (pointed := text.removeprefix("*mut ")) in ("io_object_t", "IONotificationPortRef"):
            pointer_to: Any = ctypes.POINTER
            return pointer_to(self.kind(pointed))
        assert text.startswith(("*mut ", "*const ", "Option<&", "Option<NonNull<")), text
        return ctypes.c_void_p

    def constant(self, name: str) -> int:
        [value] = re.findall(rf"pub const {name}: \w+ = (\d+)u32;", self._text)
        return int(value)

    def members(self, structure: str) -> list[str]:
        """The types of a structure's members, in order."""
        [body] = re.findall(rf"pub struct {structure} {{([^}}]*)}}", self._text)
        return re.findall(r"pub \w+: ([^,]+),", body)


def _split(arguments: str) -> Iterator[str]:
    return (one for one in re.split(r",\s*", arguments.strip()) if one)


def folder(name: str) -> Path:
    """Where cargo has a package that Cargo.toml names."""
    command = ("cargo", "metadata", "--format-version=1", "--locked", "--quiet")
    done = subprocess.run(command, cwd=TOP / "tests/clients/declarations", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [manifest] = [one["manifest_path"] for one in json.loads(done.stdout)["packages"] if one["name"] == name]
    return Path(manifest).parent


def test_iokit_is_called_as_apple_declares_it() -> None:
    declared = iokit.declare(MagicMock())
    apple = Package("objc2-io-kit", "lib.rs", "generated/mod.rs", "generated/pwr_mgt.rs")
    for name in IOKIT:
        function = getattr(declared, name)
        assert (function.restype, list(map(_shape, function.argtypes))) == _shapes(*apple.function(name)), name
    queues = Package("dispatch2", "generated/mod.rs").function("dispatch_queue_create")
    created = declared.dispatch_queue_create
    assert (created.restype, list(created.argtypes)) == queues


def _shapes(result: Any, arguments: list[Any]) -> tuple[Any, list[Any]]:
    return result, list(map(_shape, arguments))


def _shape(kind: Any) -> Any:
    """A type that can be compared: those of callbacks are made once for each declaration."""
    return (kind._restype_, kind._argtypes_) if hasattr(kind, "_argtypes_") else kind


def test_the_power_manager_of_windows_is_called_as_microsoft_declares_it() -> None:
    power = Package("windows-sys", "Windows/Win32/System/Power/mod.rs")
    callback, context = map(power.kind, power.members("DEVICE_NOTIFY_SUBSCRIBE_PARAMETERS"))
    assert _shape(callback) == _shape(windows_power.CALLBACK)
    assert context is ctypes.c_void_p
    pointer = ctypes.sizeof(ctypes.c_void_p)
    members = [(name, getattr(windows_power.Subscription, name).offset) for name in ("callback", "context")]
    assert members == [("callback", 0), ("context", pointer)]
    assert ctypes.sizeof(windows_power.Subscription) == 2 * pointer
    messages = Package("windows-sys", "Windows/Win32/UI/WindowsAndMessaging/mod.rs")
    for name in ("DEVICE_NOTIFY_CALLBACK", "PBT_APMSUSPEND", "PBT_APMRESUMESUSPEND", "PBT_APMRESUMEAUTOMATIC"):
        assert messages.constant(name) == getattr(layout, name), name
