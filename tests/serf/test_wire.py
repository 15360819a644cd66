"""The bytes of Serf's RPC, whole, in pieces and wrong."""

from __future__ import annotations

import pytest

msgpack = pytest.importorskip("msgpack", reason="needs the extra: pip install 'gossipcontrol[serf]'")

from gossipcontrol.serf.member import is_joinable, members  # noqa: E402
from gossipcontrol.serf.wire import MOST_BYTES, MOST_TEXT, Decoder, WireError, number, request, text  # noqa: E402


def packed(*found: object) -> bytes:
    return b"".join(msgpack.packb(one, use_bin_type=False) for one in found)


def test_maps_come_whole_however_they_are_cut() -> None:
    data = packed({"Seq": 1, "Error": ""}, {"Num": 2}) + request("join", 2, {"Existing": ["192.0.2.1:7946"]})
    decoder = Decoder()
    found = [one for place in range(len(data)) for one in decoder.feed(data[place : place + 1])]
    assert found == [*Decoder().feed(data)]
    assert found[:2] == [{b"Seq": 1, b"Error": b""}, {b"Num": 2}]


@pytest.mark.parametrize(
    "data",
    [
        packed("no map"),
        b"\xc1",
        packed({"Error": "x" * (MOST_TEXT + 1)}),
        b"\xdd\xff\xff\xff\xff",  # an array of 4 thousand million
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000,  # arrays within arrays
        b"\xc6\x7f\xff\xff\xff" + bytes(MOST_BYTES),  # 2 thousand million bytes
    ],
    ids=["text", "reserved", "long", "array", "map", "deep", "bytes"],
)
def test_what_is_no_answer_or_too_large_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        list(Decoder().feed(data))


def test_members_that_can_be_named_are_read_and_all_else_is_left_out() -> None:
    body = {
        b"Members": [
            {b"Name": b"a", b"Status": b"alive", b"Addr": b"\xc0\x00\x02\x01", b"Port": 7946, b"Tags": {b"k": b"v"}},
            {b"Name": b"b", b"Status": b"failed", b"Addr": b"\x00" * 10 + b"\xff\xff\xc0\x00\x02\x02", b"Port": 7946},
            {b"Name": b"c", b"Addr": b"\x20\x01\x0d\xb8" + b"\x00" * 12, b"Port": b"7946"},
            {b"Name": b"d", b"Addr": b"odd", b"Port": 1},
            {b"Name": b"", b"Status": b"alive"},
            {b"Name": b"n" * 129},
            b"no map",
        ]
    }
    found = members(body)
    assert {name: one.address for name, one in found.items()} == {
        "a": "192.0.2.1:7946", "b": "192.0.2.2:7946", "c": "[2001:db8::]:7946", "d": "",
    }  # fmt: skip
    assert found["a"].tags == {"k": "v"}
    assert members({}) == members({b"Members": 5}) == {}


def test_numbers_and_text_of_the_wrong_kind_are_nothing() -> None:
    assert (number(b"12"), number(3), number(b"1" * 40), number(None)) == (12, 3, 0, 0)
    assert (text(b"a\xff"), text(5)) == ("a\ufffd", "")


@pytest.mark.parametrize(
    ("address", "joinable"),
    [("192.0.2.1:7946", True), ("[2001:db8::1]:7946", True), ("serf.example:7946", False), ("192.0.2.1", False),
     ("192.0.2.1:", False), ("192.0.2.1:99999", False)],
)  # fmt: skip
def test_only_ip_addresses_are_joined(address: str, joinable: bool) -> None:
    assert is_joinable(address) is joinable
