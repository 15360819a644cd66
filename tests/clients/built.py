"""The clients of other languages, each built once in build/clients/ with its own build.sh."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.markdown import TOP, tracked

BUILD = TOP / "build" / "clients"
LIMIT = 600.0
"""Seconds that a build may take; most are spent on the first one's packages."""
RUN_TIME = 30.0
"""Seconds that one run may take."""


@dataclass(frozen=True)
class Language:
    """Where a client is, what builds it, and how its command is run."""

    name: str
    directory: str
    programs: tuple[str, ...]
    needs: str
    command: tuple[str, ...]


LANGUAGES = (
    Language("go", "clients/go", ("go",), "Go 1.26 or newer", ("bin/report",)),
    Language(
        "rust", "clients/rust/gossipcontrol-client", ("cargo",), "Rust 1.88 or newer with cargo",
        ("target/debug/report",),
    ),
    Language(
        "typescript", "clients/typescript", ("node", "npm"), "Node 20 or newer with npm", ("node", "dist/report.js")
    ),
    Language(
        "kotlin", "clients/kotlin", ("mvn", "java"), "a JDK of version 17 or newer and Maven 3.8 or newer",
        ("java", "-cp", "build/gossipcontrol-client-0.1.0.jar:build/libraries/*", "gossipcontrol.ReportKt"),
    ),
)  # fmt: skip
RUST_AGENT = Language(
    "rust agent", "clients/rust/gossipcontrol-agent", ("cargo",), "Rust 1.91 or newer with cargo",
    ("target/debug/gossipcontrol-iroh",),
)  # fmt: skip
"""The agent for iroh-gossip in Rust, with its reference node."""


@dataclass(frozen=True)
class Finished:
    """How a run of a client ended."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True)
class Built:
    """A client that can be run."""

    language: Language
    directory: Path

    async def report(self, address: str, node: str, kind: str = "foreground", seconds: float = 20) -> Finished:
        """Run its command."""
        return await self.run(*self.language.command, address, node, kind, str(seconds))

    async def start(self, *command: str) -> asyncio.subprocess.Process:
        """Start a program in its directory."""
        program = self.directory / command[0]
        return await asyncio.create_subprocess_exec(
            str(program) if program.exists() else command[0], *command[1:], cwd=self.directory,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip

    async def run(self, *command: str, within: float = RUN_TIME) -> Finished:
        """Run a program in its directory to its end."""
        process = await self.start(*command)
        async with asyncio.timeout(within):
            output, errors = await process.communicate()
        assert process.returncode is not None
        return Finished(process.returncode, output.decode(), errors.decode())


def build(language: Language) -> Built:
    """Copy the client and have it build itself; skips where its tools are missing."""
    if missing := [program for program in language.programs if shutil.which(program) is None]:
        pytest.skip(f"needs {' and '.join(missing)}: install {language.needs}")
    directory = BUILD / language.directory.removeprefix("clients/")
    for path in tracked(language.directory):
        _copy(path, directory / path.relative_to(TOP / language.directory))
    settings = {"PROTOC": str(_protoc()), "PROTOS": str(TOP / "proto"), "GOCACHE": str(BUILD / "cache" / "go")}
    done = subprocess.run(
        ["./build.sh"], cwd=directory, env=os.environ | settings, capture_output=True, text=True, timeout=LIMIT,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Built(language, directory)


def _copy(source: Path, target: Path) -> None:
    """Copy a file if it differs, so that what was built of it before is used again."""
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def _protoc() -> Path:
    """A program like protoc, of the generator that makes the Python stubs."""
    path = BUILD / "protoc"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n', encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path
