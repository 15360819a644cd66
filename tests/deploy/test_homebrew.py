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


def value(text: str, name: str) -> str:
    [found] = re.findall(rf'^  {name} "(.*)"$', text, re.MULTILINE)
    return str(found)


def test_a_release_has_its_address_and_checksum(tmp_path: Path) -> None:
    archive = tmp_path / "gossipcontrol-1.2.3.tar.gz"
    archive.write_bytes(b"sources")
    made = formula(archive, f"https://host.example/{archive.name}")
    assert value(made, "url") == "https://host.example/gossipcontrol-1.2.3.tar.gz"
    assert value(made, "sha256") == hashlib.sha256(b"sources").hexdigest()
    assert "RELEASED" not in made
    assert "Not finished" not in made
    with pytest.raises(click.UsageError, match="is not an https address"):
        formula(archive, "https://host.example/gossipcontrol-1.2.2.tar.gz")
    other = archive.rename(archive.with_name("other.tar.gz"))
    with pytest.raises(click.UsageError, match=r"other\.tar\.gz is not gossipcontrol-VERSION"):
        formula(other, "https://host.example/other.tar.gz")


def test_without_a_release_the_formula_says_so_where_address_and_checksum_belong() -> None:
    text = FORMULA.read_text("utf-8")
    assert text.startswith("# Not finished: there is no release yet.")
    for name in ("url", "sha256"):
        assert value(text, name).startswith("NOT RELEASED: ")


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
