"""The order in which the tests start."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.waiting_first import waiting_first

Test = tuple[int, int]
"""A number and the seconds that it waits."""
REAL_NODES = ("tests.kit.swarm", "tests.kit.fleet", "tests.kit.observed_fleet", "tests.kit.network")
E2E = sorted((Path(__file__).parent / "e2e").glob("test_*.py"))


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
    assert [sum(each) for each in waits] == [150, 150, 0, 0]
    for block, each in zip(of_workers, waits, strict=True):
        assert [wait for _, wait in block[: len(each)]] == sorted(each, reverse=True)


def test_one_worker_keeps_the_order() -> None:
    tests = [(0, 0), (1, 50), (2, 0), (3, 10)]
    assert waiting_first(tests, seconds, 1) == tests


@pytest.mark.parametrize("path", E2E, ids=lambda path: path.stem)
def test_every_test_with_real_nodes_says_how_long_it_waits(path: Path) -> None:
    """One that does not starts late, and then all workers wait for it alone."""
    module = ast.parse(path.read_text())
    imported = {one.module for one in module.body if isinstance(one, ast.ImportFrom)}
    if imported.isdisjoint(REAL_NODES):
        return
    tests = [one for one in module.body if isinstance(one, ast.AsyncFunctionDef) and one.name.startswith("test_")]
    assert tests
    unmarked = [one.name for one in tests if not any("mark.waits(" in ast.unparse(mark) for mark in one.decorator_list)]
    assert unmarked == []
