"""How ``gossipcontrol agent iroh`` finds the node in Rust, and what it hands it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from gossipcontrol.cli.iroh_program import Flags, command_line, find_program

pytestmark = pytest.mark.not_on_windows("the stand-in for the program is a script")

STAND_IN = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\nsys.exit(3)\n"


def stand_in(directory: Path) -> Path:
    """A program of the right name that prints its flags as JSON, and exits with 3."""
    path = directory / "gossipcontrol-iroh"
    path.write_text(STAND_IN, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_it_is_found_on_path_or_where_the_variable_says(tmp_path: Path) -> None:
    path = str(stand_in(tmp_path))
    assert find_program({"PATH": str(tmp_path)}) == path
    assert find_program({"PATH": "", "GOSSIPCONTROL_IROH": path}) == path
    assert find_program({"PATH": str(tmp_path), "GOSSIPCONTROL_IROH": ""}) is None
    assert find_program({"PATH": "/nowhere"}) is None


def test_every_flag_is_handed_over() -> None:
    flags = Flags("unix:/x", "h", "n", 0.5, 7, False, True, Path("k"))
    words = command_line("p", flags, ("s", "--odd"), ("ab@1.2.3.4:5",), ("wg0",), ("eth*",))
    assert words == [
        "p", "--address", "unix:/x", "--host-id", "h", "--name", "n", "--heartbeat", "0.5", "--size", "7",
        "--no-watch", "--key-file", "k", "--json",
        "--store=s", "--store=--odd", "--peer=ab@1.2.3.4:5", "--include=wg0", "--ignore=eth*",
    ]  # fmt: skip
    assert "--no-control" in Flags("", "h", "", 1, 0, True, False, None).words()


def run(tmp_path: Path, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command where the stand-in is installed."""
    command = (sys.executable, "-m", "gossipcontrol.cli", "agent", "iroh", "--store", "s", "--no-control", *flags)
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"} | variables
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize("flags", [(), ("--engine", "rust")], ids=["auto", "rust"])
def test_the_command_becomes_the_program_where_it_is_installed(tmp_path: Path, flags: tuple[str, ...]) -> None:
    stand_in(tmp_path)
    done = run(tmp_path, "--host-id", "h", *flags)
    assert done.returncode == 3, done.stderr
    assert "--store=s" in json.loads(done.stdout)


def test_a_program_that_is_wanted_and_missing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIPCONTROL_IROH", "")
    pytest.importorskip("iroh", reason="needs the extra: pip install 'gossipcontrol[iroh]'")
    done = run(tmp_path, "--engine", "rust")
    assert done.returncode == 2
    assert "gossipcontrol-iroh is not installed" in done.stderr


@pytest.mark.parametrize("flags", [("--engine", "python"), ("--restart-command", "true")], ids=["chosen", "needed"])
def test_the_node_in_python_without_its_package_says_what_to_install(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Where the program in Rust is installed, the package need not be; it was a traceback."""
    stand_in(tmp_path)
    hidden = "raise ModuleNotFoundError(\"No module named 'iroh'\", name='iroh')"
    (tmp_path / "iroh.py").write_text(hidden, encoding="utf-8")
    done = run(tmp_path, *flags, PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert done.returncode == 2
    assert "this command needs the package iroh: pip install 'gossipcontrol[iroh]'" in done.stderr
