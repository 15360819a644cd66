"""The file that keeps a node's identity."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from gossipcontrol.iroh.key import KeyFileError, read_key


def test_a_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    key = read_key(path)
    assert len(key) == 32
    assert read_key(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path], "nothing else is left"


def test_a_key_with_a_line_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("ab" * 32 + "\n")
    assert read_key(path) == b"\xab" * 32


@pytest.mark.parametrize("content", [b"", b"\n", b"ab" * 31, b"ab" * 33, b"zz" * 32, b"\xff" * 32, b"a" * 63])
def test_what_is_no_key_is_refused_and_left_as_it_is(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="holds no key of 32 bytes"):
        read_key(path)
    assert path.read_bytes() == content


def test_a_key_that_could_not_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        read_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []
