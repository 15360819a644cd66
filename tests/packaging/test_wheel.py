"""The wheel as a user has it: typed, importable without extras, and quick to import."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.kit.installed import TOP, Installed, install

PACKAGES = ("agent", "cli", "client", "iroh", "lattice", "serf", "server", "system", "v1", "watch")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    made = install(tmp_path_factory.mktemp("installed"))
    for example in (TOP / "examples").glob("*.py"):
        shutil.copy(example, made.directory)
    return made


def test_every_package_is_marked_as_typed(installed: Installed) -> None:
    names = set(ZipFile(installed.wheel).namelist())
    assert {name for name in names if name.endswith("py.typed")} == {
        f"gossipcontrol/{package}/py.typed" for package in PACKAGES
    }
    assert "gossipcontrol/v1/decision_pb2.pyi" in names
    static = "server/gossipcontrol/server/status_page/static"
    assert {name for name in names if "/static/" in name} == {
        f"gossipcontrol/server/status_page/static/{path.name}" for path in (TOP / static).iterdir()
    }
    assert not any(name.startswith(("tests", "bench", "dev", "examples")) for name in names)


def test_the_libraries_and_the_commands_work_without_extras(installed: Installed) -> None:
    python = str(installed.python)
    for package in ("agent", "client", "watch"):
        where = installed.run(python, "-c", f"import gossipcontrol.{package} as one; print(one.__file__)")
        assert Path(where.strip()).is_relative_to(installed.python.parents[1])
        installed.run(python, "-c", f"from gossipcontrol.{package} import *")
    assert "Commands:" in installed.run(python, "-m", "gossipcontrol.cli", "--help")
    assert "gossipcontrol" in installed.run(str(installed.python.with_name("gossipcontrol")), "--version")


def test_mypy_checks_the_examples_strictly(installed: Installed) -> None:
    flags = ("--strict", "--config-file=", "--python-executable", str(installed.python))
    examples = sorted(path.name for path in installed.directory.glob("*.py"))
    shown = installed.run(sys.executable, "-m", "mypy", *flags, *examples)
    assert f"no issues found in {len(examples)} source files" in shown


def test_mypy_sees_the_types_of_a_user(installed: Installed) -> None:
    """Without them everything would be Any, and no example could be wrong."""
    (installed.directory / "wrong").mkdir()
    wrong = installed.directory / "wrong" / "wrong.py"
    wrong.write_text(
        "from gossipcontrol.client import PeerState, SyncClient\nSyncClient(1)\nreveal_type(PeerState.LEFT)\n"
    )
    flags = ("--strict", "--config-file=", "--python-executable", str(installed.python))
    with pytest.raises(AssertionError) as raised:
        installed.run(sys.executable, "-m", "mypy", *flags, str(wrong))
    assert 'incompatible type "int"; expected "str | None"' in str(raised.value)
    assert "PeerState.LEFT" in str(raised.value)


def test_pyright_checks_the_examples_strictly(installed: Installed) -> None:
    project = {"typeCheckingMode": "strict", "include": ["*.py"], "reportMissingModuleSource": False}
    (installed.directory / "pyrightconfig.json").write_text(json.dumps(project))
    shown = installed.run(sys.executable, "-m", "pyright", "--pythonpath", str(installed.python))
    assert "0 errors, 0 warnings" in shown
