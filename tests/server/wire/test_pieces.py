"""A message that is parsed in pieces is the message that protobuf parses at once, or is refused as protobuf refuses."""

from __future__ import annotations

from typing import Any, cast

import pytest
from google.protobuf.message import DecodeError
from gossipcontrol.server.core.slices import finish
from gossipcontrol.server.wire import pieces
from gossipcontrol.server.wire.pieces import TooManyFields, parse_slices
from gossipcontrol.v1 import attach_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.lists(st.text(max_size=12), max_size=6)


@st.composite
def reports(draw: st.DrawFn) -> liveness_pb2.LivenessReport:
    heard = liveness_pb2.PeersHeard(
        peer_ids=draw(TEXTS), heard_ages_ms=draw(st.lists(st.integers(0, 2**40), max_size=6))
    )
    neighbors = [liveness_pb2.Neighbor(peer_id=peer) for peer in draw(TEXTS)]
    given_heard = heard if draw(st.booleans()) else None
    return liveness_pb2.LivenessReport(node_id=draw(st.text(max_size=9)), heard=given_heard, neighbors=neighbors)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    made = draw(st.lists(reports(), max_size=4))
    intentions = [
        peer_knowledge_pb2.Intention(author_id=author, dependencies=draw(st.lists(st.binary(max_size=9), max_size=4)))
        for author in draw(TEXTS)
    ]
    batch = peer_knowledge_pb2.IntentionBatch(store_id=draw(st.text(max_size=9)), intentions=intentions)
    return draw(
        st.sampled_from([
            gossip_control_pb2.PeerLivenessRequest(reports=made),
            peer_knowledge_pb2.RecordIntentionsRequest(sender_id="s", sequence=7, batch=batch),
            attach_pb2.AttachRequest(intentions=batch),
            attach_pb2.AttachRequest(liveness=made[0] if made else None),
        ])
    )  # fmt: skip


def parse(kind: type[Any], data: bytes, piece: int) -> Any:
    """The message, cut into pieces of so many bytes; DecodeError where it cannot be read."""
    message = kind()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE", piece)
        try:
            finish(parse_slices(message, data))
        except DecodeError:
            return DecodeError
    return message


@given(messages(), st.integers(64, 120))
def test_what_is_parsed_in_pieces_is_the_same(message: Any, piece: int) -> None:
    data, kind = message.SerializeToString(), cast("Any", type(message))
    for encoded in (data, data + data):
        found = parse(kind, encoded, piece)
        assert found == kind.FromString(encoded)
        # Not equal alone: a submessage that is present, though empty, is present.
        assert found.SerializeToString() == kind.FromString(encoded).SerializeToString()


@given(messages(), st.data())
def test_damaged_bytes_are_refused_or_read_as_protobuf_reads_them(message: Any, data: st.DataObject) -> None:
    damaged, kind = bytearray(message.SerializeToString() or b"\x08"), cast("Any", type(message))
    place = data.draw(st.integers(0, len(damaged) - 1))
    damaged[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        expected = kind.FromString(bytes(damaged))
    except DecodeError:
        expected = DecodeError
    found = parse(kind, bytes(damaged), 64)
    assert found == expected or found is DecodeError, "at most refused, never another message"


def test_a_large_message_is_parsed_in_many_slices() -> None:
    """One of 4 MB used to be parsed in one turn of the event loop."""
    peers = [f"{number:0128}" for number in range(1000)]
    heard = liveness_pb2.PeersHeard(peer_ids=peers, heard_ages_ms=[5] * 1000)
    report = liveness_pb2.LivenessReport(node_id="n", store_id="s", heard=heard)
    whole = gossip_control_pb2.PeerLivenessRequest(reports=[report] * 30)
    message, data = gossip_control_pb2.PeerLivenessRequest(), whole.SerializeToString()
    count = sum(1 for _ in parse_slices(message, data))
    assert message == whole
    assert count >= len(data) // (2 * pieces.PIECE)


@pytest.mark.parametrize(
    "data",
    [
        b"\x0a\x02\x0a\x00" * (pieces.FIELDS + 1),  # 20,001 reports without anything
        b"\x0a\xff\xff\x07" + b"x" * ((1 << 17) - 1),  # one report, which begins with a group
    ],
)
def test_what_no_legal_message_has_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        finish(parse_slices(gossip_control_pb2.PeerLivenessRequest(), data))


def test_a_text_longer_than_any_legal_one_is_refused_by_its_name() -> None:
    data = liveness_pb2.LivenessReport(node_id="x" * (pieces.PIECE + 1)).SerializeToString()
    with pytest.raises(TooManyFields, match="node_id"):
        finish(parse_slices(liveness_pb2.LivenessReport(), data))


def test_a_long_field_of_a_newer_version_is_ignored() -> None:
    newer = b"\xfa\x3f\x80\x80\x08" + bytes(1 << 17)  # field 1023
    known = gossip_control_pb2.PeerLivenessRequest(reports=[liveness_pb2.LivenessReport(node_id="n")])
    message = gossip_control_pb2.PeerLivenessRequest()
    finish(parse_slices(message, known.SerializeToString() + newer))
    assert [one.node_id for one in message.reports] == ["n"]
