"""What goes on is told once in a while, and not remembered without bound."""

from __future__ import annotations

from gossipcontrol.agent.news import SUBJECTS, News

from tests.agent.fake import Clock


def test_what_goes_on_is_news_once_in_a_while() -> None:
    clock = Clock()
    news = News(10.0, clock)
    assert [news.is_news("a", "p"), news.is_news("a", "p"), news.is_news("b", "p")] == [True, False, True]
    clock.now += 9.9
    assert not news.is_news("a", "p")
    clock.now += 0.1
    assert news.is_news("a", "p")


def test_what_was_told_longest_ago_makes_room() -> None:
    clock = Clock()
    news = News(10.0, clock)
    for number in range(SUBJECTS):
        news.is_news(f"p{number}")
    clock.now += 10.0
    assert news.is_news("p0")
    assert news.is_news("new")
    assert not news.is_news("p0")
    assert news.is_news("p1")
    clock.now += 5.0
    for number in range(SUBJECTS):
        news.is_news(f"q{number}")
    assert news.is_news("p0"), "a flood of others has driven it out"
