"""What is remembered: the newest of what is young enough, within a number and a size."""

from __future__ import annotations

from gossipcontrol.server.core.codec import Plain, resolve
from gossipcontrol.server.core.deciding.dedupe import DedupeCache
from hypothesis import given
from hypothesis import strategies as st

puts = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 12), st.floats(0.0, 4.0)), max_size=40)


def recent(limit: int = 4, age: float = 10.0, room: int = 10) -> DedupeCache[str, str]:
    return DedupeCache(limit, age, room, len)


def saved(memory: DedupeCache[str, str]) -> Plain:
    return resolve(memory.save())


@given(puts)
def test_the_newest_are_kept_as_far_as_number_size_and_age_allow(chosen: list[tuple[str, int, float]]) -> None:
    memory, told, now = recent(), dict[str, tuple[float, str]](), 0.0
    for key, size, wait in chosen:
        now += wait
        memory.put(key, "x" * size, now)
        told.pop(key, None)
        told[key] = (now, "x" * size)
        kept, room = dict[str, tuple[float, str]](), 10
        for known, (at, value) in reversed(told.items()):
            room -= len(value)
            if kept and (len(kept) == 4 or room < 0 or now - at >= 10.0):
                break
            kept[known] = at, value
        told = dict(reversed(kept.items()))
        assert saved(memory) == [[known, at, value] for known, (at, value) in told.items()]
        again = recent()
        again.load(saved(memory), str, str)
        assert saved(again) == saved(memory)
        if size % 2:
            memory = again


def test_one_that_is_too_large_is_kept_alone_until_another_comes() -> None:
    memory = recent()
    memory.put("small", "x", 0.0)
    memory.put("large", "x" * 11, 1.0)
    assert [memory.get(key, 1.0) for key in ("small", "large")] == [None, "x" * 11]
    memory.put("small", "x", 2.0)
    assert [memory.get(key, 2.0) for key in ("small", "large")] == ["x", None]


def test_of_what_was_saved_under_wider_bounds_the_newest_are_taken_over() -> None:
    wide, narrow = recent(limit=100, room=1000), recent()
    for number in range(20):
        wide.put(str(number), "xxx", float(number))
    narrow.load(saved(wide), str, str)
    assert [key for key, _, _ in saved(narrow)] == ["17", "18", "19"]
