"""The Homebrew formula of a release. Homebrew itself is not of Debian: Ruby reads what is written."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from dev.homebrew_formula import FORMULA, formula

TOP = Path(__file__).parents[2]


def test_a_release_has_its_version_and_checksum(tmp_path: Path) -> None:
    archive = tmp_path / "gossipcontrol-1.2.3.tar.gz"
    archive.write_bytes(b"sources")
    made = formula(archive)
    assert f'sha256 "{hashlib.sha256(b"sources").hexdigest()}"\n' in made
    assert re.findall(r'^  url ".*/(.*)"$', made, re.MULTILINE) == [archive.name]
    archive.rename(archive.with_name("other.tar.gz"))
    with pytest.raises(click.UsageError):
        formula(archive.with_name("other.tar.gz"))


def test_the_formula_installs_files_of_the_checkout_and_is_ruby() -> None:
    text = FORMULA.read_text("utf-8")
    named = re.findall(r'"(deploy/[^"]+)"', text)
    assert sorted(named) == ["deploy/constraints.txt", "deploy/gossipcontrol.toml"]
    assert all((TOP / name).is_file() for name in named)
    ruby = shutil.which("ruby")
    if ruby is None:
        pytest.skip("ruby is missing: install the Debian package ruby")
    done = subprocess.run([ruby, "-wc", str(FORMULA)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "Syntax OK\n", "")
