"""What the headers of other systems say: sizes, offsets and constants, read by libclang from what ziglang ships."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = {"ziglang": "ziglang==0.17.1", "clang": "libclang==18.1.1"}
ERROR = 3
"""Severity of clang's diagnostics from which a value may be wrong."""
_NAME = "gossipcontrol_value_"


@dataclass(frozen=True, slots=True)
class System:
    """A target of the compiler, and the folders of its headers."""

    triple: str
    folders: tuple[str, ...]
    options: tuple[str, ...] = ()


MACOS = System("arm64-apple-macosx13.0", ("any-darwin-any",))
MACOS_INTEL = System("x86_64-apple-macosx13.0", ("any-darwin-any",))
FREEBSD = System("x86_64-unknown-freebsd14", ("x86_64-freebsd-none", "x86-freebsd-none", "generic-freebsd"))
OPENBSD = System("x86_64-unknown-openbsd", ("x86_64-openbsd-none", "x86-openbsd-none", "generic-openbsd"))
NETBSD = System("x86_64-unknown-netbsd10", ("x86_64-netbsd-none", "x86-netbsd-none", "generic-netbsd"))
_NO_INTRINSICS = tuple(f"-D__{name}INTRIN_H" for name in ("", "X86", "IMM", "MM", "XMM", "EMM"))
"""Has the compiler pass over its headers of intrinsics, which are half of what windows.h includes."""
WINDOWS = System("x86_64-pc-windows-gnu", ("any-windows-any",), ("-D_WIN32_WINNT=0x0A00", *_NO_INTRINSICS))


def what_is_missing() -> str:
    """The packages that this environment lacks, and how to install them; empty when it lacks nothing."""
    lacking = [package for name, package in PACKAGES.items() if importlib.util.find_spec(name) is None]
    return f"packages with headers and a parser are missing: pip install {' '.join(lacking)}" if lacking else ""


def evaluate(system: System, includes: Sequence[str], expressions: Sequence[str]) -> dict[str, int]:
    """The value of each C expression (a constant, ``sizeof``, ``offsetof``) for a system; raises ValueError."""
    lines = [*(f"#include <{one}>" for one in includes), "#define offset(type, field) __builtin_offsetof(type, field)"]
    lines += [f"enum {{ {_NAME}{number} = ({one}) }};" for number, one in enumerate(expressions)]
    clang: Any = importlib.import_module("clang.cindex")
    unit = clang.Index.create().parse(
        "values.c", args=_arguments(system), unsaved_files=[("values.c", "\n".join(lines) + "\n")]
    )
    if errors := [str(one) for one in unit.diagnostics if one.severity >= ERROR and _is_ours(one)]:
        raise ValueError(f"{system.triple}: {'; '.join(errors[:5])}")
    found = {
        child.spelling.removeprefix(_NAME): int(child.enum_value)
        for cursor in unit.cursor.get_children()
        for child in cursor.get_children()
        if child.spelling.startswith(_NAME)
    }
    return {one: found[str(number)] for number, one in enumerate(expressions)}


def _is_ours(diagnostic: Any) -> bool:
    """Whether it is about an expression or a missing header: compiler intrinsics in the headers do not matter."""
    place = diagnostic.location.file
    return place is None or place.name == "values.c" or "not found" in diagnostic.spelling


def _arguments(system: System) -> list[str]:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(what_is_missing())
    library = Path(next(iter(spec.submodule_search_locations)), "lib")
    folders = [library / "include", *(library / "libc/include" / name for name in system.folders)]
    # As C23 an enumerator has the type of its value, so that 0xE0000280 stays positive.
    options = ["-target", system.triple, "-nostdinc", "-std=gnu2x", "-ferror-limit=0", *system.options]
    return [*options, *(part for folder in folders for part in ("-isystem", str(folder)))]
