"""What `make lint` takes for a breaking change of the protocol."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.versions.release import OLDER

TOP = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
NAME = "proto/gossipcontrol/v1/gossip_control.proto"
BUF = Path(sys.executable).parent / "buf"


def breaking(top: Path) -> tuple[int, str]:
    """The exit code of the comparison with the newest release, and what it says."""
    command = [str(BUF), "breaking", "--against", str(HERE / f"{OLDER[-1]}.binpb")]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(TOP / "proto", tmp_path / "proto", ignore=shutil.ignore_patterns("*_pb2*"))
    shutil.copy(TOP / "buf.yaml", tmp_path)
    return tmp_path


def test_the_makefile_compares_with_the_newest_release() -> None:
    assert f"LANDED := tests/versions/{OLDER[-1]}.binpb" in (TOP / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("  uint64 age_ms = 8;", ""),
        ("  string detail = 9;", "  string detail = 19;"),
        ("  string boot_id = 5;", "  bytes boot_id = 5;"),
        ("  NETWORK_CHANGE_KIND_RESUMED = 2;", "  NETWORK_CHANGE_KIND_WOKEN = 2;"),
        ("  rpc ListStores(ListStoresRequest) returns (ListStoresResponse);", ""),
    ],
    ids=["removed field", "other number", "other type", "renamed value", "removed call"],
)
def test_what_breaks_older_clients_is_found(copy: Path, before: str, after: str) -> None:
    path = copy / NAME
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")
    assert breaking(copy)[0] == 100


def test_an_addition_is_none(copy: Path) -> None:
    path = copy / NAME
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  string detail = 9;", "  string detail = 9;\n  string note = 99;"), encoding="utf-8")
    assert breaking(copy) == (0, "")
