"""The order in which the tests start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.waiting_first import waiting_first

Test = tuple[int, int]
"""A number and the seconds that it waits."""


def seconds(test: Test) -> float:
    return test[1]


def blocks(ordered: list[Test], workers: int) -> list[list[Test]]:
    """What worksteal gives each worker at first."""
    all_blocks: list[list[Test]] = []
    for remaining in range(workers, 0, -1):
        size = len(ordered) // remaining
        all_blocks.append(ordered[:size])
        ordered = ordered[size:]
    return all_blocks


@given(st.lists(st.sampled_from((0, 0, 0, 10, 50))), st.integers(1, 9))
def test_every_test_runs_once(waits: list[int], workers: int) -> None:
    tests = list(enumerate(waits))
    assert sorted(waiting_first(tests, seconds, workers)) == tests


def test_waiting_tests_head_most_blocks_and_share_the_wait() -> None:
    tests = [(number, 10 * (number % 3) if number >= 70 else 0) for number in range(100)]
    of_workers = blocks(waiting_first(tests, seconds, 4), 4)
    waits = [[wait for _, wait in block if wait] for block in of_workers]
    assert [sum(each) for each in waits] == [100, 100, 100, 0]
    for block, each in zip(of_workers, waits, strict=True):
        assert [wait for _, wait in block[: len(each)]] == sorted(each, reverse=True)


def test_one_worker_keeps_the_order() -> None:
    tests = [(0, 0), (1, 50), (2, 0), (3, 10)]
    assert waiting_first(tests, seconds, 1) == tests
