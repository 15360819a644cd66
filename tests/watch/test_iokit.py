"""Sleep of a Mac: a stand-in for IOKit, built here, that calls from a thread of its own and keeps the answers."""

from __future__ import annotations

import asyncio
import ctypes
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
from gossipcontrol.watch.change import ChangeKind
from gossipcontrol.watch.iokit import CAN_SLEEP, HAS_POWERED_ON, SHORTEST, WILL_SLEEP, MacPowerSource
from gossipcontrol.watch.suspend import Suspension

from tests.kit import headers
from tests.kit.compiler import MISSING, compiled
from tests.kit.until import until

needs_compiler = pytest.mark.skipif(bool(MISSING), reason=MISSING or "nothing is missing")
WILL_NOT_SLEEP, WILL_POWER_ON = 0xE0000290, 0xE0000320
FIRST_ID = 0x100000000
"""Ids of messages are pointers: these are cut by a type of 32 bits."""

STAND_IN = r"""
#include <pthread.h>
#include <stdint.h>
#include <stddef.h>
typedef void (*callback_t)(void *refcon, uint32_t service, uint32_t type, void *argument);
static callback_t callback;
static void *queue_of_port;
static int port, queue, registered, refuses, count;
static intptr_t allowed[64];
static uint32_t roots[64];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { uint32_t type; void *argument; } waiting[64];
static int first, last;

uint32_t IORegisterForSystemPower(void *refcon, void **made, callback_t called, uint32_t *notifier) {
    if (refuses) return 0;
    callback = called; *made = &port; *notifier = 0xBEEF; registered = 1;
    return 0xDEADBEE1;
}
void *dispatch_queue_create(const char *label, void *attributes) { return label && !attributes ? &queue : NULL; }
void IONotificationPortSetDispatchQueue(void *of, void *wanted) { if (of == &port) queue_of_port = wanted; }
int32_t IOAllowPowerChange(uint32_t root, intptr_t id) {
    pthread_mutex_lock(&lock); roots[count] = root; allowed[count++] = id; pthread_mutex_unlock(&lock);
    return 0;
}
int32_t IODeregisterForSystemPower(uint32_t *notifier) { if (*notifier == 0xBEEF) registered = 0; return 0; }
int32_t IOServiceClose(uint32_t root) { return root == 0xDEADBEE1 ? 0 : -1; }
void IONotificationPortDestroy(void *of) { if (of == &port) queue_of_port = NULL; }

static void *deliver(void *unused) {
    for (; first < last; first++) callback(NULL, 7, waiting[first].type, waiting[first].argument);
    return NULL;
}
void fake_refuse(int wanted) { refuses = wanted; }
void fake_message(uint32_t type, intptr_t argument) {
    waiting[last].type = type; waiting[last++].argument = (void *)argument;
}
int fake_deliver(void) {
    pthread_t thread;
    if (!registered || queue_of_port != &queue) return -1;
    return pthread_create(&thread, NULL, deliver, NULL) || pthread_detach(thread);
}
int fake_registered(void) { return registered; }
int fake_count(void) { pthread_mutex_lock(&lock); int n = count; pthread_mutex_unlock(&lock); return n; }
intptr_t fake_allowed(int at) { return allowed[at]; }
uint32_t fake_root(int at) { return roots[at]; }
"""


class FakeIOKit:
    """The other side of the stand-in."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._library = ctypes.CDLL(self.path)
        self._library.fake_message.argtypes = (ctypes.c_uint32, ctypes.c_ssize_t)
        self._library.fake_allowed.restype = ctypes.c_ssize_t
        self._library.fake_root.restype = ctypes.c_uint32

    def say(self, *messages: tuple[int, int]) -> None:
        """Messages with their ids, from a thread of the stand-in, in this order."""
        for kind, number in messages:
            self._library.fake_message(kind, number)
        assert self._library.fake_deliver() == 0

    def refuse(self) -> None:
        self._library.fake_refuse(1)

    @property
    def allowed(self) -> list[int]:
        return [self._library.fake_allowed(at) for at in range(self._library.fake_count())]

    @property
    def roots(self) -> set[int]:
        return {self._library.fake_root(at) for at in range(self._library.fake_count())}

    @property
    def registered(self) -> bool:
        return bool(self._library.fake_registered())


@pytest.fixture
def iokit(tmp_path: Path) -> FakeIOKit:
    return FakeIOKit(compiled(STAND_IN, tmp_path))


class Told:
    """What a source tells."""

    def __init__(self) -> None:
        self.kinds: list[ChangeKind] = []

    async def collect(self, source: MacPowerSource) -> None:
        async with aclosing(source.watch()) as changes:
            async for kind in changes:
                self.kinds.append(kind)


async def listening(iokit: FakeIOKit, announce_time: float) -> tuple[Told, asyncio.Task[None]]:
    told = Told()
    task = asyncio.create_task(told.collect(MacPowerSource(iokit.path, announce_time=announce_time)))
    await until(lambda: iokit.registered, "the source registers")
    return told, task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@needs_compiler
async def test_a_sleep_is_announced_and_allowed_and_the_wake_is_a_resume(iokit: FakeIOKit) -> None:
    told, task = await listening(iokit, 0.05)
    ids = [FIRST_ID, FIRST_ID + 1]
    iokit.say((CAN_SLEEP, ids[0]), (WILL_SLEEP, ids[1]), (WILL_POWER_ON, 0), (HAS_POWERED_ON, 0))
    await until(lambda: ChangeKind.RESUMED in told.kinds, "the resume is told")
    assert told.kinds == [ChangeKind.SLEEPING, ChangeKind.RESUMED]
    assert iokit.allowed == ids
    assert iokit.roots == {0xDEADBEE1}
    await stopped(task)
    assert not iokit.registered


@needs_compiler
async def test_a_sleep_that_did_not_come_is_no_change(iokit: FakeIOKit) -> None:
    told, task = await listening(iokit, 0.05)
    iokit.say((CAN_SLEEP, FIRST_ID), (WILL_NOT_SLEEP, 0), (HAS_POWERED_ON, 0))
    await until(lambda: bool(told.kinds), "the last message is told")
    assert told.kinds == [ChangeKind.RESUMED]
    assert iokit.allowed == [FIRST_ID]
    await stopped(task)


@needs_compiler
async def test_a_sleep_is_allowed_in_time_while_the_event_loop_is_busy(iokit: FakeIOKit) -> None:
    _, task = await listening(iokit, 0.05)
    iokit.say((WILL_SLEEP, FIRST_ID))
    deadline = time.monotonic() + 10
    while not iokit.allowed and time.monotonic() < deadline:
        time.sleep(0.005)  # noqa: ASYNC251 - the loop must not run
    assert iokit.allowed == [FIRST_ID]
    await stopped(task)


@needs_compiler
async def test_the_end_of_the_watcher_lets_the_mac_sleep_at_once(iokit: FakeIOKit) -> None:
    told, task = await listening(iokit, 3600)
    iokit.say((WILL_SLEEP, FIRST_ID))
    await until(lambda: told.kinds == [ChangeKind.SLEEPING], "the sleep is announced")
    assert iokit.allowed == []
    await stopped(task)
    await until(lambda: iokit.allowed == [FIRST_ID], "the sleep is allowed")


class _Clock:
    """A power source that says one thing."""

    name = "test"

    async def watch(self) -> AsyncGenerator[ChangeKind, None]:
        yield ChangeKind.RESUMED


@needs_compiler
@pytest.mark.parametrize("what", ["refused", "missing"])
async def test_without_iokit_the_clocks_tell(iokit: FakeIOKit, what: str, tmp_path: Path) -> None:
    iokit.refuse()
    library = iokit.path if what == "refused" else str(tmp_path / "no-such-framework")
    async with aclosing(MacPowerSource(library, fallback=_Clock()).watch()) as changes:
        assert [kind async for kind in changes] == [ChangeKind.RESUMED]


def test_the_clocks_of_a_mac_pass_over_wakes_in_the_dark() -> None:
    """tailscale/tailscale#19226: some Macs wake in the dark every minute, all night."""
    slept = 0.0
    suspension = Suspension(lambda: slept, lambda: 0.0, shortest=SHORTEST, adds_up=False)
    for _ in range(600):
        slept += 59
        assert not suspension.grown()
    slept += 7 * 3600
    assert suspension.grown() == 7 * 3600


@pytest.mark.skipif(bool(headers.what_is_missing()), reason=headers.what_is_missing() or "nothing is missing")
def test_clocks_host_id_and_messages_are_those_of_the_headers() -> None:
    said = {"CLOCK_MONOTONIC_RAW": 4, "CLOCK_UPTIME_RAW": 8, "sizeof(uuid_t)": 16, "sizeof(struct timespec)": 16}
    # IOKit/IOMessage.h is not among the headers: its codes, by the rule of mach/error.h that makes messages of them.
    for code, message in {0x270: CAN_SLEEP, 0x280: WILL_SLEEP, 0x300: HAS_POWERED_ON}.items():
        said[f"(unsigned)(err_system(0x38) | err_sub(0) | {code:#x})"] = message
    includes = ("time.h", "unistd.h", "uuid/uuid.h", "mach/error.h")
    assert headers.evaluate(headers.MACOS, includes, list(said)) == said
