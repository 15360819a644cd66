"""What a power cut may leave of files, rebuilt from the system calls that a program made on them.

``strace`` records the calls. What was synced is on the disk; of what was written since, every 512-byte sector may or
may not have reached it, in any order, and so may a file's new length or its end.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SECTOR = 512
ACKNOWLEDGED = b"acknowledged "
CALLS = "pwrite64,write,fsync,fdatasync,ftruncate,unlink,rename"
_CALL = re.compile(r"^(?:\[pid +)?(\d+)\]? +(.*)$")
_PARTS = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_PATH = re.compile(r"^\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that succeeded."""

    name: str
    path: str
    data: bytes = b""
    offset: int = 0


@dataclass(slots=True)
class _File:
    """``disk`` is what was synced, ``pending`` what was done since."""

    disk: bytearray | None = None
    pending: list[Call] = field(default_factory=list[Call])


def trace(command: Sequence[str], log: Path) -> list[Call]:
    """Run a command, and return its calls in order; the text that it writes to its standard output is among them."""
    options = ["-f", "-y", "-xx", "-s", "1000000", "-e", f"trace={CALLS}", "-e", "signal=none"]
    subprocess.run(["strace", *options, "-o", str(log), *command], check=True, capture_output=True, timeout=120)
    return list(_parse(log.read_text()))


def _parse(text: str) -> Iterator[Call]:
    begun: dict[str, str] = {}
    for line in text.splitlines():
        if (found := _CALL.match(line)) is None:
            continue
        thread, rest = found.groups()
        if rest.endswith("<unfinished ...>"):
            begun[thread] = rest.removesuffix("<unfinished ...>").rstrip()
            continue
        if rest.startswith("<... "):
            rest = begun.pop(thread) + rest.partition(" resumed>")[2]
        parts = _PARTS.match(rest)
        if parts is not None and int(parts[3]) >= 0:
            yield from _call(parts[1], parts[2], int(parts[3]))


def _call(name: str, arguments: str, result: int) -> Iterator[Call]:
    texts = [bytes.fromhex(one.replace("\\x", "")) for one in _TEXT.findall(arguments)]
    if name in ("unlink", "rename"):
        yield Call(name, texts[0].decode(), texts[1] if len(texts) > 1 else b"")
        return
    path = _PATH.match(arguments)
    if path is None:
        return
    # With -xx, strace prints paths in hexadecimal too.
    where = bytes.fromhex(path[1].replace("\\x", "")).decode() if path[1].startswith("\\x") else path[1]
    match name:
        case "pwrite64":
            yield Call(name, where, texts[0][:result], int(arguments.rpartition(",")[2]))
        case "write":
            yield Call(name, where, texts[0][:result])
        case "ftruncate":
            yield Call(name, where, offset=int(arguments.rpartition(",")[2]))
        case _:
            yield Call(name, where)


class Disk:
    """The files of one directory, call by call."""

    def __init__(self, directory: Path) -> None:
        self._directory = f"{directory}/"
        self._files: dict[str, _File] = {}

    def apply(self, call: Call) -> None:
        """A call happens; a sync of the directory keeps which files are gone."""
        if call.path == self._directory[:-1]:
            for file in self._files.values():
                gone = max((place for place, one in enumerate(file.pending, 1) if one.name == "unlink"), default=0)
                file.disk = _done(file.disk, file.pending[:gone])
                del file.pending[:gone]
            return
        if not call.path.startswith(self._directory):
            return
        file = self._files.setdefault(call.path, _File())
        if call.name in ("fsync", "fdatasync"):
            file.disk = _done(file.disk, file.pending)
            file.pending.clear()
        else:
            file.pending.append(call)

    def cut(self, target: Path, chance: random.Random) -> None:
        """The power goes: write to ``target`` what may be left; SQLite makes its shared memory anew."""
        share = chance.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        in_order = chance.random() < 0.5
        for path, file in self._files.items():
            pending = list(_torn(file.pending, share, chance))
            if in_order:
                pending = pending[: chance.randrange(len(pending) + 1)]
            content = _done(file.disk, pending)
            if content is not None and not path.endswith("-shm"):
                (target / Path(path).name).write_bytes(content)


def _torn(pending: Sequence[Call], share: float, chance: random.Random) -> Iterator[Call]:
    """What of these calls reached the disk: of a write, each sector for itself."""
    for call in pending:
        if call.name != "pwrite64":
            if chance.random() < share:
                yield call
            continue
        start = 0
        while start < len(call.data):
            end = min(len(call.data), start + SECTOR - (call.offset + start) % SECTOR)
            if chance.random() < share:
                yield Call(call.name, call.path, call.data[start:end], call.offset + start)
            start = end


def _done(disk: bytearray | None, calls: Sequence[Call]) -> bytearray | None:
    """The content after these calls; None: there is no file."""
    content = None if disk is None else bytearray(disk)
    for call in calls:
        if call.name == "unlink":
            content = None
            continue
        content = bytearray() if content is None else content
        if call.name == "ftruncate":
            del content[call.offset :]
            content.extend(bytes(call.offset - len(content)))
        else:
            content.extend(bytes(max(0, call.offset + len(call.data) - len(content))))
            content[call.offset : call.offset + len(call.data)] = call.data
    return content


def acknowledge(count: int) -> None:
    """Say on the standard output that so much is acknowledged; the recorded calls have it in its place."""
    os.write(1, ACKNOWLEDGED + f"{count}\n".encode())


def acknowledged(calls: Sequence[Call]) -> int:
    """What was acknowledged last in these calls."""
    told = [call.data for call in calls if call.name == "write" and call.data.startswith(ACKNOWLEDGED)]
    return int(told[-1].removeprefix(ACKNOWLEDGED)) if told else 0


def record(module: str, directory: Path) -> tuple[Path, list[Call]]:
    """Run a module that writes a state file: the directory of the state, and the calls of the run."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing: apt-get install strace")
    state = directory / "state"
    state.mkdir()
    calls = trace([sys.executable, "-m", module, str(state / "state.db")], directory / "calls")
    if not calls:
        pytest.skip("strace may not trace here: run as root, or allow ptrace")
    return state, calls


def power_cuts(directory: Path, calls: Sequence[Call], images: Path, count: int) -> Iterator[tuple[Path, int, str]]:
    """Power cuts at random calls: what may be left of the directory, what was acknowledged by then, and where it was.

    The image is removed when the next is asked for.
    """
    chance, disk = random.Random(7), Disk(directory)
    points = sorted(chance.choices(range(1, len(calls) + 1), k=count))
    done = 0
    for number, point in enumerate(points):
        for call in calls[done:point]:
            disk.apply(call)
        done = point
        image = images / str(number)
        image.mkdir()
        disk.cut(image, chance)
        yield image, acknowledged(calls[:point]), f"cut {number} after call {point} of {len(calls)}"
        shutil.rmtree(image)
