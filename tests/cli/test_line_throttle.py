"""What goes on is told once in a while, and not remembered without bound."""

from __future__ import annotations

from gossipcontrol.cli.line_throttle import SUBJECTS, LineThrottle

from tests.agent.fake import Clock


def test_what_goes_on_allows_once_in_a_while() -> None:
    clock = Clock()
    news = LineThrottle(10.0, clock)
    assert [news.allows("a", "p"), news.allows("a", "p"), news.allows("b", "p")] == [True, False, True]
    clock.now += 9.9
    assert not news.allows("a", "p")
    clock.now += 0.1
    assert news.allows("a", "p")


def test_what_was_told_longest_ago_makes_room() -> None:
    clock = Clock()
    news = LineThrottle(10.0, clock)
    for number in range(SUBJECTS):
        news.allows(f"p{number}")
    clock.now += 10.0
    assert news.allows("p0")
    assert news.allows("new")
    assert not news.allows("p0")
    assert news.allows("p1")
    clock.now += 5.0
    for number in range(SUBJECTS):
        news.allows(f"q{number}")
    assert news.allows("p0"), "a flood of others has driven it out"
