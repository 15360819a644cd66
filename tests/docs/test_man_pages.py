"""Manual pages: one for every command, with all of its options, and without a complaint of groff."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from gossipcontrol.cli.main import COMMANDS

from dev.man_pages import main, pages


def test_every_command_has_a_page_with_its_options() -> None:
    found = pages()
    names = {"gossipcontrol.1", "gossipcontrol-server.1", *(f"gossipcontrol-{name}.1" for name in COMMANDS)}
    assert names <= found.keys()
    assert {"gossipcontrol-members-remove.1", "gossipcontrol-report-resume.1"} <= found.keys()
    stores = found["gossipcontrol-stores.1"]
    assert "List the stores and their nodes" in stores
    assert all(option in stores for option in (r"\-\-node", r"\-\-address", r"\-\-timeout", r"\-\-json"))


def test_pages_are_written(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--to", str(tmp_path)])
    assert done.exit_code == 0
    assert len(list((tmp_path / "man1").glob("*.1"))) == len(pages())


@pytest.mark.skipif(shutil.which("groff") is None, reason="needs groff: install the Debian package groff")
def test_groff_has_no_complaint() -> None:
    for name, text in pages().items():
        done = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8"], input=text, capture_output=True, text=True, check=True
        )
        assert (name, done.stderr) == (name, "")
        assert "DESCRIPTION" in re.sub(".\b", "", done.stdout), "bold letters are struck twice"
