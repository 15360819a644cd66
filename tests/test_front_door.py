"""The names that the packages export: all there, and imported only when they are asked for."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

PACKAGES = ("agent", "client", "iroh", "watch")
LIBRARIES = ("agent", "client", "watch")
FORBIDDEN = ("gossipcontrol.cli.", "gossipcontrol.iroh.", "gossipcontrol.server.")
HEAVY = ("click", "dbus_fast", "google", "grpc", "iroh", "rich", "tenacity")
CLIENTS = Path(__file__).parents[1] / "clients" / "gossipcontrol"

SHOW_LOADED = """
import sys
{statement}
print(*sorted({{name.partition(".")[0] for name in sys.modules}} & {heavy!r}))
"""


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a statement imports."""
    code = SHOW_LOADED.format(statement=statement, heavy=set(HEAVY))
    return set(subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_packages_imports_nothing_else() -> None:
    assert loaded_by("\n".join(f"import gossipcontrol.{package}" for package in PACKAGES)) == set()


def test_values_and_errors_need_neither_grpc_nor_protobuf() -> None:
    assert loaded_by("from gossipcontrol.client import PeerState, ClientError, RejoinRecord, Presence") == set()
    assert "grpc" in loaded_by("from gossipcontrol.client import Client")


def test_the_help_of_the_command_imports_click_alone() -> None:
    assert loaded_by("import gossipcontrol.cli.main") == {"click"}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_exported_name_is_there(package: str) -> None:
    if package == "iroh":
        pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
    module = import_module(f"gossipcontrol.{package}")
    names: list[str] = module.__all__
    assert names == sorted(set(names))
    for name in names:
        assert getattr(module, name) is not None
    assert set(names) == set(dir(module))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        module.__getattr__("nonsense")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_same_names(package: str) -> None:
    """They read the imports below TYPE_CHECKING, not ``__getattr__``."""
    tree = ast.parse((CLIENTS / package / "__init__.py").read_text())
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    imported = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    module = import_module(f"gossipcontrol.{package}")
    assert set(imported) == set(module.__all__)
    if package != "iroh":
        for name, home in imported.items():
            assert getattr(import_module(str(home)), name) is getattr(module, name)


@pytest.mark.parametrize("package", LIBRARIES)
def test_a_library_never_imports_the_command_line_or_iroh(package: str) -> None:
    for path in (CLIENTS / package).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.partition(".")[0] not in ("click", "rich", "iroh"), path
                assert not name.startswith(FORBIDDEN), path
