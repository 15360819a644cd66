"""Ids of a Mac, through a stand-in for its C library that is built here."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from gossipcontrol.system import boot, macos
from gossipcontrol.watch.host import host_id

from tests.kit.compiler import MISSING, compiled

needs_compiler = pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
SESSION = "6F0D3C1E-2B1A-4C55-9C5D-0A1B2C3D4E5F"
STAND_IN = r"""
#include <string.h>
#include <time.h>
int gethostuuid(unsigned char *uuid, const struct timespec *wait) {
    if (wait->tv_sec != 1 || wait->tv_nsec != 0) return -1;
    for (int at = 0; at < 16; at++) uuid[at] = at;
    return 0;
}
int sysctlbyname(const char *name, void *old, size_t *size, void *new, size_t new_size) {
    const char *value = "6F0D3C1E-2B1A-4C55-9C5D-0A1B2C3D4E5F";
    if (strcmp(name, "kern.bootsessionuuid") || new || *size < strlen(value) + 1) return -1;
    *size = strlen(value) + 1;
    memcpy(old, value, *size);
    return 0;
}
"""


@pytest.fixture
def library(tmp_path: Path) -> str:
    return str(compiled(STAND_IN, tmp_path))


@needs_compiler
def test_the_ids_are_those_of_the_system(library: str) -> None:
    assert macos.host_uuid(library) == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert macos.named_text("kern.bootsessionuuid", library) == SESSION
    assert macos.named_text("kern.nothing", library) == ""


@pytest.mark.parametrize("library", [None, "/no/such/library"])
def test_a_system_without_them_has_none(library: str | None) -> None:
    assert macos.host_uuid(library) == ""
    assert macos.named_text("kern.bootsessionuuid", library) == ""


def test_a_mac_is_named_for_its_hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(macos, "host_uuid", lambda: "0001")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        mac = host_id({}, ())
    monkeypatch.setattr(macos, "host_uuid", lambda: "0002")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        assert host_id({}, ()) != mac


def test_the_boot_of_a_mac_is_named_by_its_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(boot, "BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(macos, "named_text", {"kern.bootsessionuuid": SESSION}.__getitem__)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "platform", "darwin")
        assert boot.boot_id() == SESSION


def test_the_boot_of_a_bsd_is_named_for_all_alike_however_the_clock_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The time of the boot, taken from the clocks, flips at ten-second boundaries and with every step."""
    messages = tmp_path / "dmesg.boot"
    messages.write_text("Copyright")
    monkeypatch.setattr(boot, "BOOT_ID", tmp_path / "none")
    monkeypatch.setattr(boot, "BOOT_MESSAGES", messages)
    named = boot.boot_id()
    monkeypatch.setattr(time, "time", lambda: 12345.0)
    assert boot.boot_id() == named
    os.utime(messages, (1000, 1000))
    assert boot.boot_id() != named


def test_the_clock_without_sleep_is_the_one_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "clock_gettime", {8: 8.0, time.CLOCK_MONOTONIC: 1.0}.__getitem__)
    assert boot.awake_time() == 1
    monkeypatch.setattr(time, "CLOCK_UPTIME_RAW", 8, raising=False)
    assert boot.awake_time() == 8
