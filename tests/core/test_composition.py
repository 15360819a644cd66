"""The core is put together once: whoever drives all of it drives ``Core``, so that what is tested is what runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PARTS = frozenset({"Engine", "Liveness", "KnowledgeStore"})
"""The parts that ``Core`` puts together."""
HOME = TOP / "server" / "gossipcontrol" / "server" / "core" / "core.py"


def made(tree: ast.AST) -> set[str]:
    """The parts that a file makes itself."""
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = (func.id if isinstance(func, ast.Name) else getattr(func, "attr", "") for func in calls)
    return set(names) & PARTS


def sources() -> Iterator[Path]:
    for folder in ("server", "clients", "bench", "dev", "tests"):
        yield from (TOP / folder).rglob("*.py")


def compositions(paths: Iterator[Path]) -> list[str]:
    """Files other than ``core.py`` that make the engine, or two parts side by side."""
    found: list[str] = []
    for path in paths:
        parts = made(ast.parse(path.read_text(encoding="utf-8")))
        if path != HOME and ("Engine" in parts or len(parts) > 1):
            found.append(f"{path.relative_to(TOP)} makes {', '.join(sorted(parts))}")
    return found


def test_only_the_core_puts_its_parts_together() -> None:
    assert compositions(sources()) == []
    assert made(ast.parse(HOME.read_text(encoding="utf-8"))) == PARTS


@pytest.mark.parametrize(
    "source", ["engine = Engine(p, l)", "a, b = Liveness(), KnowledgeStore()", "x = core.Engine(p)"]
)
def test_a_second_composition_is_seen(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.core.test_composition.TOP", tmp_path)
    path = tmp_path / "other.py"
    path.write_text(source)
    assert len(compositions(iter([path]))) == 1
