"""Every rule, decision and outcome in words: none is missing, and each says what an operator needs."""

from __future__ import annotations

import re
from itertools import product

import pytest
from gossipcontrol.server.core.deciding.record import UNSEEN, RejoinRecord, Seen, TriggerRecord
from gossipcontrol.server.core.decision import Cause, Decision, DecisionKind, Outcome, Rule, Rung
from gossipcontrol.server.wire import reasons

SENTENCE = re.compile(r"[a-z0-9].*[a-z0-9]", re.DOTALL)
"""Words that can stand in a list of reasons: no capital, no full stop, no blank at either end."""
NOW = 100.0


def trigger(
    kind: DecisionKind = DecisionKind.STARTED, rule: Rule = Rule.LEADING_EDGE, **fields: object
) -> TriggerRecord:
    return TriggerRecord(Cause.MANUAL, kind, rule, NOW, **fields)  # type: ignore[arg-type]


def rejoin(outcome: Outcome, detail: str = "", triggers: tuple[TriggerRecord, ...] = ()) -> RejoinRecord:
    return RejoinRecord(
        "x-1", "n", "a", outcome, NOW, NOW + 5, NOW, None, None, 2, Rung.REJOIN, detail, triggers, len(triggers), ()
    )


def test_every_rule_has_its_own_sentence() -> None:
    assert set(reasons.RULES) == set(Rule)
    assert len(set(reasons.RULES.values())) == len(Rule)
    assert all(SENTENCE.fullmatch(text) for text in reasons.RULES.values())


def test_every_way_to_end_has_its_own_sentence() -> None:
    ended = set(Outcome) - {Outcome.WAITING, Outcome.PARKED, Outcome.RUNNING}
    assert set(reasons.ENDS) == ended
    assert len(set(reasons.ENDS.values())) == len(ended)


@pytest.mark.parametrize("rule", Rule)
def test_every_decision_is_explained_by_its_rule(rule: Rule) -> None:
    texts = [reasons.explain_decision(Decision("n", "a", kind, rule, "x-1", NOW + 3), NOW) for kind in DecisionKind]
    assert all(reasons.RULES[rule] in text and SENTENCE.fullmatch(text) for text in texts)
    assert len(set(texts)) == len(DecisionKind), "no two decisions read the same"


@pytest.mark.parametrize(("kind", "rule"), list(product(DecisionKind, Rule)))
def test_every_past_trigger_is_explained(kind: DecisionKind, rule: Rule) -> None:
    text = reasons.explain_trigger(trigger(kind, rule))
    assert text == f"{kind.name.lower()}: {reasons.RULES[rule]}"


@pytest.mark.parametrize("detail", ["", "no route"])
@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_explained(outcome: Outcome, detail: str) -> None:
    text = reasons.explain_rejoin(rejoin(outcome, detail), NOW)
    assert SENTENCE.fullmatch(text)
    assert text.startswith(detail)
    past = reasons.explain_past(rejoin(outcome, detail), trigger(), NOW)
    assert past.endswith(f"rejoin x-1 is {outcome.name.lower()}: {text}")


def test_a_decision_says_when_and_with_which_rejoin() -> None:
    def said(kind: DecisionKind, rejoin_id: str = "x-1") -> str:
        return reasons.explain_decision(Decision("n", "a", kind, Rule.WINDOW, rejoin_id, NOW + 3), NOW).partition(":")[
            0
        ]

    assert said(DecisionKind.COALESCED) == "shares rejoin x-1, which starts in 3.0 s"
    assert said(DecisionKind.SCHEDULED) == "starts in 3.0 s"
    assert said(DecisionKind.PARKED) == "starts as soon as an agent attaches, or expires in 3.0 s"
    duplicate = Decision("n", "a", DecisionKind.DUPLICATE, Rule.KNOWN_GENERATION, "x-1", NOW)
    assert reasons.explain_decision(duplicate, NOW).endswith("was reported before, and led to rejoin x-1")
    assert reasons.explain_decision(duplicate._replace(rejoin_id=""), NOW).endswith("was reported before")


def test_a_past_trigger_says_what_was_known() -> None:
    assert reasons.explain_seen(UNSEEN, NOW) == ""
    assert reasons.explain_seen(Seen(attached=True, waiting=7), NOW) == (
        "at that time: an agent was attached, no rejoin had started, no neighbour was present, "
        "no rejoin of this store waited, 7 waited in the whole service"
    )
    seen = Seen(False, NOW - 4, NOW - 0.5, "x-2", 9)
    assert reasons.explain_trigger(trigger(seen=seen, evidence="3 writes by n")) == (
        "started: this node has not rejoined this store within the window; evidence: 3 writes by n; "
        "at that time: no agent was attached, the last rejoin started 4.0 s earlier, "
        "a neighbour was alive 0.5 s earlier, rejoin x-2 waited, 9 waited in the whole service"
    )


def test_a_skipped_rejoin_says_why_nothing_ran() -> None:
    skipped = trigger(DecisionKind.SKIPPED, Rule.FRESH_NEIGHBORS)
    record = rejoin(Outcome.SKIPPED, triggers=(skipped,))
    assert reasons.explain_rejoin(record, NOW) == f"nothing ran: {reasons.RULES[Rule.FRESH_NEIGHBORS]}"
    assert reasons.explain_past(record, skipped, NOW) == reasons.explain_trigger(skipped)
