from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gossipcontrol.watch.generation import SAME_EVENT, GenerationCounter
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_generation_is_at_least_the_age_of_the_boot_in_milliseconds(tmp_path: Path) -> None:
    assert GenerationCounter(tmp_path / "g", "boot", Clock(100.0)).advance("a") == 100_000


def test_two_watchers_give_one_event_one_number(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (GenerationCounter(tmp_path / "g", "boot", clock) for _ in range(2))
    first = one.advance("a")
    clock.now += SAME_EVENT / 2
    assert other.advance("a") == first
    assert one.advance("b") > first


def test_a_watcher_never_takes_its_own_number_twice(tmp_path: Path) -> None:
    counter = GenerationCounter(tmp_path / "g", "boot", Clock())
    assert counter.advance("a") < counter.advance("a")


def test_the_same_event_later_is_another(tmp_path: Path) -> None:
    clock = Clock()
    one, other = (GenerationCounter(tmp_path / "g", "boot", clock) for _ in range(2))
    first = one.advance("a")
    clock.now += SAME_EVENT
    assert other.advance("a") > first


TORN = (
    b"", b"{", b"\xff\xfe", b"[]", b"null", b"7", b'{"boot_id": "boot"}', b"[" * 4096,
    b'{"boot_id": "boot", "generation": "x", "event": "a", "at": 1.0}',
    b'{"boot_id": "boot", "generation": 1e999, "event": "a", "at": 1.0}',
    b'{"boot_id": "boot", "generation": 99999999999999999999999, "event": "a", "at": 100.0}',
    b'{"boot_id": "boot", "generation": -5, "event": "a", "at": 100.0}',
    b'{"boot_id": "boot", "generation": 5, "event": "a", "at": null}',
    b'{"boot_id": "other", "generation": 999999999, "event": "a", "at": 100.0}',
)  # fmt: skip


@pytest.mark.parametrize("content", TORN)
def test_a_torn_file_is_survived_and_mended(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "g").write_bytes(content)
    clock = Clock()
    one, other = (GenerationCounter(tmp_path / "g", "boot", clock) for _ in range(2))
    assert one.advance("a") == 100_000
    assert other.advance("a") == 100_000
    assert json.loads((tmp_path / "g").read_text())["generation"] == 100_000


@given(st.binary(max_size=200))
def test_no_content_of_the_file_ever_stops_it(content: bytes) -> None:
    with TemporaryDirectory() as directory:
        Path(directory, "g").write_bytes(content)
        assert GenerationCounter(Path(directory, "g"), "boot", Clock()).advance("a") >= 100_000


def test_without_a_usable_file_it_counts_on(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    counter = GenerationCounter(tmp_path / "file" / "g", "boot", Clock())
    assert [counter.advance("a"), counter.advance("a")] == [100_000, 100_001]


def test_a_full_disk_is_survived() -> None:
    counter = GenerationCounter(Path("/dev/full"), "boot", Clock())
    assert [counter.advance("a"), counter.advance("a")] == [100_000, 100_001]


steps = st.lists(st.tuples(st.integers(0, 2), st.sampled_from("abc"), st.floats(0, 3), st.booleans()), max_size=40)


@given(steps)
def test_numbers_never_repeat_in_a_boot(chosen: list[tuple[int, str, float, bool]]) -> None:
    """One number is one event: the same text, seen by each watcher at most once, within the time of one event."""
    clock = Clock()
    with TemporaryDirectory() as directory:
        path = Path(directory, "g")
        watchers = [GenerationCounter(path, "boot", clock) for _ in range(3)]
        lives = [0, 0, 0]
        given_out: dict[int, tuple[str, float]] = {}
        taken: set[tuple[int, int, int]] = set()
        for number, event, wait, restarted in chosen:
            clock.now += wait
            if restarted:
                watchers[number] = GenerationCounter(path, "boot", clock)
                lives[number] += 1
            generation = watchers[number].advance(event)
            known, at = given_out.setdefault(generation, (event, clock.now))
            assert known == event
            assert clock.now - at < SAME_EVENT
            assert generation == max(given_out)
            assert (number, lives[number], generation) not in taken
            taken.add((number, lives[number], generation))


COUNT = """
import sys
from pathlib import Path
from gossipcontrol.watch.generation import GenerationCounter
counter = GenerationCounter(Path(sys.argv[1]), "boot")
print(*(counter.advance(f"{sys.argv[2]} {number}") for number in range(200)))
"""


def test_processes_that_count_at_once_never_share_a_number_by_chance(tmp_path: Path) -> None:
    started = [
        subprocess.Popen((sys.executable, "-c", COUNT, tmp_path / "g", str(number)), stdout=subprocess.PIPE, text=True)
        for number in range(3)
    ]
    numbers = [int(word) for process in started for word in process.communicate()[0].split()]
    assert len(numbers) == 600
    assert len(set(numbers)) == 600
