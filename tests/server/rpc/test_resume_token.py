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
    edition = ResumeTokens(run)
    assert 0 < edition.number(version) < 2**63, "languages without unsigned numbers can hold it"
    assert edition.version(edition.number(version)) == version
    token = edition.token(store_id, version)
    assert len(token) <= 64
    assert edition.place(store_id, token) == version


@given(RUNS, RUNS, VERSIONS, st.integers(0, 2**64 - 1))
def test_no_other_number_is_taken_for_one_of_its_own(run: int, other: int, version: int, number: int) -> None:
    edition = ResumeTokens(run)
    if other != run:
        assert edition.version(ResumeTokens(other).number(version)) is None
        assert edition.place("s", ResumeTokens(other).token("s", version)) is None
    known = edition.version(number)
    assert known is None or edition.number(known) == number
    assert edition.version(0) is None


@pytest.mark.parametrize("token", ["x", "é", "====", "A" * 15, "A" * 20, "AAAAAAAAAAAAAAA\n", "../+++++++++++++"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each kind of mistake has a message of its own
        ResumeTokens(1).place("s", token)


def test_a_token_of_another_store_is_refused() -> None:
    edition = ResumeTokens(7)
    with pytest.raises(ValueError, match="another store"):
        edition.place("b", edition.token("a", 1))
