"""The reference node in Rust: a program of its own, with the flags and the output of ``gossipcontrol agent iroh``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

PROGRAM = "gossipcontrol-iroh"
VARIABLE = "GOSSIPCONTROL_IROH"
"""Environment variable with the path of the program; empty: there is none, whatever is on PATH."""


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that take one value each."""

    service: str
    """Its address; empty: the node runs without it."""
    host_id: str
    name: str
    heartbeat: float
    size: int
    watch: bool
    as_json: bool
    key_file: Path | None

    def words(self) -> list[str]:
        """The same as words of a command line."""
        return [
            *(("--address", self.service) if self.service else ("--no-control",)),
            *("--host-id", self.host_id, "--name", self.name),
            *("--heartbeat", str(self.heartbeat), "--size", str(self.size)),
            "--watch" if self.watch else "--no-watch",
            *(("--key-file", str(self.key_file)) if self.key_file else ()),
            *(("--json",) if self.as_json else ()),
        ]


def find_program(environ: Mapping[str, str] | None = None) -> str | None:
    """The path of the program: what GOSSIPCONTROL_IROH names, else the one on PATH; None where there is none."""
    environ = os.environ if environ is None else environ
    return shutil.which(environ.get(VARIABLE, PROGRAM) or "", path=environ.get("PATH"))


def command_line(
    program: str, flags: Flags, stores: Sequence[str], peers: Sequence[str], include: Sequence[str],
    ignore: Sequence[str],
) -> list[str]:  # fmt: skip
    """The program with all its words."""
    repeated = (("--store", stores), ("--peer", peers), ("--include", include), ("--ignore", ignore))
    return [program, *flags.words(), *(f"{name}={value}" for name, values in repeated for value in values)]


def run_program(
    program: str, flags: Flags, stores: Sequence[str], peers: Sequence[str], include: Sequence[str],
    ignore: Sequence[str],
) -> NoReturn:  # fmt: skip
    """Become the program; where a process cannot, run it to its end and exit as it does."""
    command = command_line(program, flags, stores, peers, include, ignore)
    sys.stdout.flush()
    if sys.platform != "win32":
        os.execv(program, command)
    sys.exit(subprocess.run(command, check=False).returncode)
