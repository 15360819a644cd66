"""The wheel, built and installed in a virtual environment of its own, as a user has it: without extras and stubs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

TOP = Path(__file__).parents[2]
SOURCES = ("proto", "server", "clients", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
LIMIT = 240.0
"""Seconds that any of the tools may take."""


@dataclass(frozen=True, slots=True)
class Installed:
    """The environment, and a directory beside it that has nothing of the repository."""

    wheel: Path
    python: Path
    directory: Path

    def run(self, *command: str) -> str:
        """Run a command there, without the repository on any path; returns what it prints; fails unless it exits 0."""
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "MYPY"))}
        done = subprocess.run(
            command, cwd=self.directory, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def install(directory: Path) -> Installed:
    """Build and install the wheel, offline: what it needs is linked from the environment of the tests."""
    wheel = build_wheel(directory / "source", directory / "wheel")
    environment = directory / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    [packages] = environment.glob("lib/python*/site-packages")
    _run(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index",
         "--disable-pip-version-check", str(wheel))  # fmt: skip
    for one in needed("gossipcontrol", set()):
        _link(one, packages)
    (directory / "work").mkdir()
    return Installed(wheel, python, directory / "work")


def build_wheel(source: Path, target: Path) -> Path:
    """The wheel of a copy of the sources: building generates stubs, which must not change under other tests."""
    source.mkdir()
    for name in SOURCES:
        if (TOP / name).is_dir():
            shutil.copytree(TOP / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*_pb2*"))
        else:
            shutil.copy(TOP / name, source / name)
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(target), cwd=source)
    [wheel] = target.glob("*.whl")
    return wheel


def needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """What a distribution needs on this machine without extras, transitively."""
    for line in distribution(name).requires or ():
        requirement = Requirement(line)
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        yield distribution(key)
        yield from needed(key, seen)


def _link(one: Distribution, packages: Path) -> None:
    for file in one.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            target = packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.symlink_to(Path(str(file.locate())).resolve())


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
