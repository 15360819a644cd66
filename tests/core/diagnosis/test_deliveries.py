"""Missed and lost broadcasts of one author, by counts, in spite of late reports and restarts."""

from __future__ import annotations

import math

from gossipcontrol.server.core.diagnosis.deliveries import COUNT_SAMPLES, SAMPLED_OBSERVERS, AuthorDeliveries, Loss
from gossipcontrol.server.core.event import NEVER
from hypothesis import given, settings
from hypothesis import strategies as st

PERIOD = 30.0


def reported(*numbers: int, at: float) -> dict[int, float]:
    return dict.fromkeys(numbers, at)


def marked() -> AuthorDeliveries:
    """Author 7 has broadcast 10 messages by 1000, observers 1 and 2 heard all of them, and the first mark is set."""
    delivery = AuthorDeliveries(7, 990.0)
    delivery.record_heard(1, 997.0, 10, False)
    delivery.record_heard(2, 997.0, 10, False)
    delivery.record_broadcasts(10, 998.0, PERIOD)
    delivery.record_broadcasts(10, 1000.0, PERIOD)
    return delivery


def test_a_message_one_observer_missed_is_lost_to_that_observer_only() -> None:
    delivery = marked()
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    delivery.record_heard(1, 1009.0, 15, False)
    delivery.record_heard(2, 997.0, 10, False)
    assert delivery.losses(reported(1, 2, at=1013.0)) == [Loss(1, 0.0, 5.0), Loss(2, 5.0, 5.0)]
    assert delivery.missing(reported(1, 2, at=1013.0), 3, 1010.0) == (2, [2])


def test_observers_that_do_not_count_what_they_hear_prove_no_loss() -> None:
    delivery = marked()
    delivery.record_heard(3, 999.0, 0, True)
    delivery.record_broadcasts(20, 1031.0, PERIOD)
    delivery.record_broadcasts(30, 1032.0, PERIOD)
    delivery.record_heard(3, 1049.0, 0, True)
    delivery.record_broadcasts(40, 1050.0, PERIOD)
    assert [one.number for one in delivery.losses(reported(1, 2, 3, at=1053.0), names_neighbors={3})] == [1, 2]


def test_an_observer_that_hears_nothing_since_its_restart_lost_everything() -> None:
    delivery = marked()
    delivery.record_heard(1, NEVER, 0, True)
    delivery.record_broadcasts(20, 1031.0, PERIOD)
    delivery.record_broadcasts(30, 1032.0, PERIOD)
    delivery.record_broadcasts(40, 1050.0, PERIOD)
    assert delivery.losses(reported(1, at=1053.0), names_neighbors={1}) == [Loss(1, 10.0, 10.0)]


def test_broadcasts_that_may_be_in_flight_are_not_missed_yet() -> None:
    delivery = marked()
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    assert delivery.losses(reported(1, at=1011.0)) == [Loss(1, 0.0, 0.0)]
    assert delivery.missing(reported(1, at=1011.0), 3, 1010.0) == (1, [])


def test_an_observer_that_heard_the_author_just_now_does_not_miss_it() -> None:
    delivery = marked()
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    assert delivery.missing(reported(1, at=1013.0), 3, 996.0) == (1, [])


def test_a_burst_that_observers_report_before_its_author_is_not_missed() -> None:
    delivery = marked()
    delivery.record_heard(1, 1009.3, 18, False)
    delivery.record_broadcasts(10, 1009.4, PERIOD)  # made before the burst
    delivery.record_broadcasts(18, 1010.4, PERIOD)
    assert delivery.missing(reported(1, 2, at=1014.0), 3, 1011.0) == (2, [2]), "what 2 heard is older"
    delivery.record_broadcasts(18, 1012.4, PERIOD)
    delivery.record_broadcasts(26, 1020.0, PERIOD)
    assert delivery.missing(reported(1, 2, at=1024.0), 3, 1021.0) == (2, [1, 2]), "of the next it heard nothing"


def test_a_falling_count_resets_the_marks() -> None:
    delivery = marked()
    delivery.record_heard(1, 1005.0, 2, False)
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    assert delivery.losses(reported(1, 2, at=1013.0)) == [Loss(2, 5.0, 5.0)]
    delivery.record_broadcasts(1, 1012.0, PERIOD)
    assert delivery.losses(reported(1, 2, at=1015.0)) == []
    assert delivery.missing(reported(1, 2, at=1015.0), 1, 1015.0) == (2, [])


def test_a_meeting_clears_what_was_missed_before() -> None:
    delivery = marked()
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    delivery.clear_missed(1)
    assert delivery.missing(reported(1, 2, at=1013.0), 3, 1010.0) == (2, [2])


def test_jitter_in_ages_is_no_new_message() -> None:
    delivery = marked()
    delivery.record_broadcasts(15, 1010.0, PERIOD)
    delivery.record_heard(1, 1009.5, 10, False)  # the same message, with a smaller age
    assert list(delivery.last_heard(reported(1, at=1013.0))) == [(1, 997.0)]


def test_an_author_that_is_not_heard_at_all_is_missed() -> None:
    delivery = AuthorDeliveries(7, 990.0)
    delivery.record_broadcasts(10, 1000.0, PERIOD)
    delivery.record_heard(1, NEVER, 0, False)
    delivery.record_broadcasts(20, 1010.0, PERIOD)
    assert delivery.missing(reported(1, at=1013.0), 3, 1010.0) == (1, [1])


def test_two_marks_are_kept_and_the_older_one_serves() -> None:
    delivery = marked()
    for second in range(1010, 1070, 2):
        delivery.record_broadcasts(10 + (second - 1000) // 2, float(second), PERIOD)
        delivery.record_heard(1, float(second), 10, False)
    (loss,) = delivery.losses(reported(1, at=1068.0))
    assert loss.sent >= PERIOD / 2
    assert loss.sent <= 2 * PERIOD / 2 + 5


@given(st.lists(st.tuples(st.integers(1, 60), st.booleans()), max_size=200))
def test_observers_are_a_bounded_sample_that_keeps_the_neighbours(said: list[tuple[int, bool]]) -> None:
    delivery = AuthorDeliveries(7, 0.0)
    near: dict[int, bool] = {}
    for number, is_near in said:
        delivery.record_heard(number, 1.0, 1, near.setdefault(number, is_near))
    assert len(delivery) == min(SAMPLED_OBSERVERS, len(near))
    neighbors = [number for number, is_near in near.items() if is_near]
    assert sum(delivery.has_observer(number) for number in neighbors) == min(SAMPLED_OBSERVERS, len(neighbors))


def test_the_sample_is_stable_and_independent_of_arrival_order() -> None:
    deliveries = [AuthorDeliveries(number, 0.0) for number in range(40)]
    for _ in range(3):
        for delivery in deliveries:
            for number in range(100, 160):
                delivery.record_heard(number, 1.0, 1, False)
    held = [sum(delivery.has_observer(number) for delivery in deliveries) for number in range(100, 160)]
    assert sum(held) == 40 * SAMPLED_OBSERVERS
    assert max(held) <= 20
    assert sum(count > 0 for count in held) >= 50


def test_a_forgotten_observer_leaves_room() -> None:
    delivery = AuthorDeliveries(7, 0.0)
    for number in range(SAMPLED_OBSERVERS):
        delivery.record_heard(number, float(number), number, False)
    delivery.retain({3, 5})
    assert [number for number in range(SAMPLED_OBSERVERS) if delivery.has_observer(number)] == [3, 5]
    assert list(delivery.last_heard(reported(3, 5, at=9.0))) == [(3, 3.0), (5, 5.0)]
    delivery.record_heard(20, 9.0, 1, False)
    assert len(delivery) == 3


@given(
    st.lists(
        st.tuples(st.sampled_from("saba"), st.floats(0.05, 3.0), st.integers(0, 4), st.floats(0.0, 1.0)),
        max_size=80,
    )
)
@settings(max_examples=200)
def test_no_delay_makes_a_heard_message_look_lost(steps: list[tuple[str, float, int, float]]) -> None:
    """Reports take up to a second, and messages another: what was heard within that is never counted as lost."""
    delivery, now, sent = AuthorDeliveries(7, 0.0), 100.0, list[float]()
    counted_at: dict[str, float] = {"a": -math.inf, "b": -math.inf}
    reports: dict[int, float] = {}
    for who, wait, count, delay in steps:
        now += wait
        made_at = now - min(delay, wait)
        if who == "s":
            sent += [made_at] * count
            delivery.record_broadcasts(len(sent), now, 5.0)
        else:
            heard = sum(at <= made_at - 1.0 or at <= counted_at[who] for at in sent)
            counted_at[who] = max(counted_at[who], made_at - 1.0)
            number = "ab".index(who)
            delivery.record_heard(number, made_at if heard else NEVER, heard, False)
            reports[number] = now
        for loss in delivery.losses(reports):
            assert loss.lost <= 0
        assert delivery.missing(reports, 1, now)[1] == []


def test_no_more_counts_are_kept_than_are_needed() -> None:
    delivery = AuthorDeliveries(7, 0.0)
    for second in range(100):
        delivery.record_broadcasts(second, float(second), PERIOD)
    assert len(delivery._samples) == 2 * COUNT_SAMPLES  # pyright: ignore[reportPrivateUsage]
