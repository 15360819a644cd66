"""Numbers and tokens of one run are never taken for those of another."""

from __future__ import annotations

import pytest
from gossipcontrol.server.rpc.resume_token import ResumeTokens
from hypothesis import given
from hypothesis import strategies as st

RUNS = st.integers(1, 2**31 - 1)
VERSIONS = st.integers(0, 2**32 - 1)


@given(RUNS, VERSIONS, st.text(max_size=40))
def test_a_run_knows_its_own(run: int, version: int, store_id: str) -> None:
    tokens = ResumeTokens(run)
    assert 0 < tokens.number(version) < 2**63, "languages without unsigned numbers can hold it"
    assert tokens.version(tokens.number(version)) == version
    token = tokens.token(store_id, version)
    assert len(token) <= 64
    assert tokens.read(store_id, token) == version


@given(RUNS, RUNS, VERSIONS, st.integers(0, 2**64 - 1))
def test_no_other_number_is_taken_for_one_of_its_own(run: int, other: int, version: int, number: int) -> None:
    tokens = ResumeTokens(run)
    if other != run:
        assert tokens.version(ResumeTokens(other).number(version)) is None
        assert tokens.read("s", ResumeTokens(other).token("s", version)) is None
    known = tokens.version(number)
    assert known is None or tokens.number(known) == number
    assert tokens.version(0) is None


@pytest.mark.parametrize("token", ["x", "é", "====", "A" * 15, "A" * 20, "AAAAAAAAAAAAAAA\n", "../+++++++++++++"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each kind of mistake has a message of its own
        ResumeTokens(1).read("s", token)


def test_a_token_of_another_store_is_refused() -> None:
    tokens = ResumeTokens(7)
    with pytest.raises(ValueError, match="another store"):
        tokens.read("b", tokens.token("a", 1))
