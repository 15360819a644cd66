"""The sync budget of a node."""

from __future__ import annotations

from gossipcontrol.server.core.repair.budget import Budget
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.1, 5), st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), max_size=50))
def test_no_node_syncs_more_often_than_its_rate(rate: float, asks: list[tuple[str, float]]) -> None:
    budget, now, last = Budget(rate), 0.0, dict[str, float]()
    for node_id, wait in asks:
        now += wait
        free_at = budget.free_at(node_id)
        taken = budget.try_spend(node_id, now)
        assert taken == (free_at <= now)
        if taken:
            assert now - last.get(node_id, -100.0) >= 1 / rate - 1e-9
            last[node_id] = now
        budget.prune(now)
        assert len(budget) <= 3


def test_a_node_with_a_full_budget_is_forgotten() -> None:
    budget = Budget(1.0)
    assert budget.try_spend("a", 0.0)
    assert budget.try_spend("b", 0.5)
    budget.prune(1.0)
    assert len(budget) == 1
    budget.prune(1.5)
    assert len(budget) == 0
