"""What a watcher saw, in a file: written while it runs, read again without the host that it was seen on.

One JSON object per line. The first says what follows: ``{"format": "gossipcontrol watch", "version": 1, "platform":
"linux"}``. Then ``{"at": 1.5, "source": "rtnetlink", "snapshot": {...}}`` for each look at the network, ``{"at": 9.0,
"power": "RESUMED"}``, and on macOS and the BSDs ``{"at": 1.4, "raw": "routes", "bytes": "..."}`` with what the kernel
said, in base64. ``at`` is in seconds since the start.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from gossipcontrol.system.file import BINARY, keep_private
from gossipcontrol.watch.change import Address, ChangeKind, Link, Neighbor, Route, Snapshot
from gossipcontrol.watch.source import NetworkSource, PowerSource
from gossipcontrol.watch.sysctl import Lists

FORMAT, VERSION = "gossipcontrol watch", 1
MOST_BYTES = 16 * 1024 * 1024
"""Longest recording; what comes later is not written."""

T = TypeVar("T")


class RecordingError(ValueError):
    """A file that is no recording, or one of a newer version."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a recording: a snapshot, a change of power, or what a kernel said."""

    at: float
    """Seconds since the start."""
    snapshot: Snapshot | None = None
    source: str = ""
    """Of the snapshot."""
    power: ChangeKind | None = None
    raw: tuple[str, bytes] | None = None
    """What of the kernel it is, ``links``, ``routes``, ``neighbors`` or ``message``, and its bytes."""


@dataclass(frozen=True, slots=True)
class Recording:
    """A recording that was read."""

    platform: str
    """As ``sys.platform``."""
    entries: tuple[Entry, ...]


class Recorder:
    """Writes down what the sources of a watcher see; close it at the end."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        # A recording names addresses and devices of a network: it is for its owner's eyes.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o600)
        keep_private(path)
        self._file: IO[str] = os.fdopen(descriptor, "w", encoding="utf-8", newline="\n")
        self._clock = clock
        self._began = clock()
        self._written = 0
        self._write({"format": FORMAT, "version": VERSION, "platform": sys.platform})

    def add_snapshot(self, source: str, snapshot: Snapshot) -> None:
        """A look at the network."""
        self._write({"at": self._at(), "source": source, "snapshot": asdict(snapshot)})

    def add_power(self, kind: ChangeKind) -> None:
        """A change of power."""
        self._write({"at": self._at(), "power": kind.name})

    def add_raw(self, what: str, data: bytes) -> None:
        """What the kernel said."""
        self._write({"at": self._at(), "raw": what, "bytes": base64.b64encode(data).decode("ascii")})

    def close(self) -> None:
        """End the recording."""
        self._file.close()

    def _at(self) -> float:
        return round(self._clock() - self._began, 3)

    def _write(self, value: Mapping[str, object]) -> None:
        line = json.dumps(value, separators=(",", ":")) + "\n"
        self._written += len(line)
        if self._written <= MOST_BYTES and not self._file.closed:
            self._file.write(line)
            self._file.flush()


class RecordedNetwork:
    """A network source whose every look is written down."""

    def __init__(self, source: NetworkSource, recorder: Recorder) -> None:
        self.name = source.name
        self._source = source
        self._recorder = recorder

    def wake(self) -> None:
        """Look now."""
        self._source.wake()

    async def watch(self) -> AsyncGenerator[Snapshot, None]:
        """What the source sees."""
        async with aclosing(self._source.watch()) as states:
            async for state in states:
                self._recorder.add_snapshot(self.name, state)
                yield state


class RecordedLists:
    """The lists of a kernel, written down as they are read."""

    def __init__(self, lists: Lists, recorder: Recorder) -> None:
        self._lists = lists
        self._recorder = recorder

    def links(self) -> bytes:
        """Interfaces, each with its addresses."""
        return self._recorded("links", self._lists.links())

    def routes(self) -> bytes:
        """The table of routes."""
        return self._recorded("routes", self._lists.routes())

    def neighbors(self) -> bytes:
        """The hosts on the links."""
        return self._recorded("neighbors", self._lists.neighbors())

    def _recorded(self, what: str, data: bytes) -> bytes:
        self._recorder.add_raw(what, data)
        return data


class RecordedPower:
    """A power source whose every word is written down."""

    def __init__(self, source: PowerSource, recorder: Recorder) -> None:
        self.name = source.name
        self._source = source
        self._recorder = recorder

    async def watch(self) -> AsyncIterator[ChangeKind]:
        """What the source says."""
        async for kind in self._source.watch():
            self._recorder.add_power(kind)
            yield kind


def read_recording(path: Path) -> Recording:
    """Read a recording; raises RecordingError, and OSError. Of one that was cut at the end, what is whole."""
    if path.stat().st_size > 2 * MOST_BYTES:
        raise RecordingError("it is longer than any recording")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    try:
        head = _object(lines[0] if lines else "", 1)
    except RecordingError:
        head = {}
    if head.get("format") != FORMAT:
        raise RecordingError("it is no recording of a watcher")
    version = head.get("version")
    if version != VERSION:
        raise RecordingError(f"it is of version {version}, and this release reads version {VERSION}")
    return Recording(str(head.get("platform")), tuple(_entries(lines[1:])))


def _entries(lines: list[str]) -> Iterator[Entry]:
    for number, line in enumerate(lines, start=2):
        try:
            yield _entry(_object(line, number))
        except (RecordingError, KeyError, TypeError, ValueError, binascii.Error) as error:
            if number == len(lines) + 1:  # the process was killed while it wrote
                return
            raise RecordingError(f"line {number}: {error}") from error


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordingError(f"line {number} is no JSON") from error
    if not isinstance(value, dict):
        raise RecordingError(f"line {number} is no object")
    return cast("dict[str, Any]", value)


def _entry(value: dict[str, Any]) -> Entry:
    at = float(value["at"])
    if "snapshot" in value:
        return Entry(at, _snapshot(value["snapshot"]), str(value.get("source", "")))
    if "power" in value:
        return Entry(at, power=ChangeKind[value["power"]])
    return Entry(at, raw=(str(value["raw"]), base64.b64decode(value["bytes"], validate=True)))


def _snapshot(value: dict[str, Any]) -> Snapshot:
    return Snapshot(
        _all(Link, value["links"]),
        _all(Address, value["addresses"]),
        _all(Route, value["routes"]),
        tuple(str(peer) for peer in value["peers"]),
        _all(Neighbor, value.get("neighbors", ())),
    )


def _all(kind: type[T], values: list[dict[str, Any]]) -> tuple[T, ...]:
    """Values of a dataclass; fields that it does not have are passed over, as those of a newer release."""
    types = {one.name: {"int": int, "str": str, "bool": bool}[str(one.type)] for one in fields(cast("Any", kind))}
    made: list[T] = []
    for value in values:
        known = {name: value[name] for name in types if name in value}
        if any(type(one) is not types[name] for name, one in known.items()):
            raise RecordingError(f"a {kind.__name__} with a field of another type")
        made.append(kind(**known))
    return tuple(made)
