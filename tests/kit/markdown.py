"""The documents of this repository, and their fenced blocks."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
_NAME = re.compile(r"<!-- snippet: ([\w-]+) -->")
_INLINE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block; ``name`` comes from a comment ``<!-- snippet: NAME -->`` on the line before it."""

    path: Path
    line: int
    language: str
    name: str
    text: str

    @property
    def id(self) -> str:
        """Where it is, for test ids."""
        return f"{self.path.relative_to(TOP)}:{self.line}"


def tracked(*patterns: str) -> list[Path]:
    """The tracked files that match; those that were deleted and not committed yet are left out."""
    done = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=TOP, capture_output=True, text=True, check=True)
    paths = [TOP / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def documents() -> list[Path]:
    """All markdown files."""
    return tracked("*.md")


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a document; raises ValueError for one without an end."""
    lines = path.read_text(encoding="utf-8").splitlines()
    begin: int | None = None
    for number, line in enumerate(lines, 1):
        if not line.lstrip().startswith("```"):
            continue
        if begin is None:
            begin = number
            continue
        before = _NAME.fullmatch(lines[begin - 2].strip()) if begin > 1 else None
        name = before[1] if before else ""
        text = "\n".join(lines[begin : number - 1]) + "\n"
        yield Block(path, begin, lines[begin - 1].strip().removeprefix("```"), name, text)
        begin = None
    if begin is not None:
        raise ValueError(f"{path}:{begin}: the block has no end")


def all_blocks(*languages: str) -> list[Block]:
    """The blocks of all documents, in these languages or in any."""
    return [block for path in documents() for block in blocks(path) if not languages or block.language in languages]


def each_block(*languages: str) -> pytest.MarkDecorator:
    """Run a test with each block in these languages."""
    return pytest.mark.parametrize("block", [pytest.param(one, id=one.id) for one in all_blocks(*languages)])


def prose(path: Path) -> str:
    """A document without its fenced blocks."""
    text = path.read_text(encoding="utf-8")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def inline_code(path: Path) -> list[str]:
    """What stands in backticks outside fenced blocks."""
    return _INLINE.findall(prose(path))
