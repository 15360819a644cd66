"""Every field of every request has an owner, or a reason why it needs none; and the owner is asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from gossipcontrol.server.access.identity import ANY, LOCAL, Identity, Role, Scope
from gossipcontrol.server.access.ownership import CALLS, Call, Right, check_of
from gossipcontrol.server.app import DESCRIPTORS

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method for service in DESCRIPTORS for method in service.methods
}


def leaves(message: Descriptor, prefix: str = "") -> Iterator[str]:
    """Paths of all fields that are no messages."""
    for field in message.fields:
        path = f"{prefix}{field.name}"
        if field.message_type is None:
            yield path
        else:
            yield from leaves(field.message_type, f"{path}.")


def is_free(call: Call, path: str) -> bool:
    """Whether the table says that a field needs no owner."""
    return path in call.free or any(
        pattern.endswith(".*") and path.startswith(pattern.removesuffix("*")) for pattern in call.free
    )


def test_every_call_is_in_the_table_and_nothing_else() -> None:
    assert set(CALLS) == set(METHODS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_field_has_an_owner_or_a_reason(method: str) -> None:
    call = CALLS[method]
    paths = list(leaves(METHODS[method].input_type))
    unsaid = [path for path in paths if path not in call.owned and not is_free(call, path)]
    both = [path for path in paths if path in call.owned and is_free(call, path)]
    named = [*call.owned, *(one for one in call.free if not one.endswith(".*"))]
    gone = [path for path in named if path not in paths]
    assert (unsaid, both, gone) == ([], [], [])
    assert all(call.free.values())


def filled(path: str, value: str, message: Message) -> Message:
    """A message in which one field has a value."""
    at: Any = message
    *inner, last = path.split(".")
    for name in inner:
        field: FieldDescriptor = at.DESCRIPTOR.fields_by_name[name]
        at = getattr(at, name).add() if field.is_repeated else getattr(at, name)
    if at.DESCRIPTOR.fields_by_name[last].is_repeated:
        getattr(at, last).append(value)
    else:
        setattr(at, last, value)
    return message


OWNED = [(method, path, right) for method, call in sorted(CALLS.items()) for path, right in call.owned.items()]


def identity(right: Right, role: Role, pattern: str) -> Identity:
    """One that has everything but this scope, which has a pattern."""
    scopes = {scope.value: ANY for scope in Scope} | {right.scope.value: (pattern,)}
    return Identity(
        name="x", roles=frozenset({role}), nodes=scopes["nodes"], hosts=scopes["hosts"], stores=scopes["stores"]
    )


@pytest.mark.parametrize(("method", "path", "right"), OWNED)
def test_the_owner_of_a_field_may_use_it_and_no_other(method: str, path: str, right: Right) -> None:
    check = check_of(method)
    request = filled(path, "mine-1", GetMessageClass(METHODS[method].input_type)())
    for role in Role:
        may_call = role in CALLS[method].roles
        owner, other = check(identity(right, role, "mine-*"), request), check(identity(right, role, "theirs"), request)
        if role in right.roles and may_call:
            assert owner is None
        else:
            assert owner is not None
        assert other is not None
        if may_call:
            assert other.field.replace("[0]", "") == path
    assert check(LOCAL, request) is None


@pytest.mark.parametrize("method", sorted(METHODS))
def test_who_has_no_role_for_a_call_may_not_make_it(method: str) -> None:
    request = GetMessageClass(METHODS[method].input_type)()
    for role in Role:
        allowed = Identity(name="x", roles=frozenset({role}), nodes=ANY, hosts=ANY, stores=ANY)
        assert (check_of(method)(allowed, request) is None) == (role in CALLS[method].roles)


def test_a_call_that_the_table_does_not_know_is_nobodys() -> None:
    admin = Identity(name="x", roles=frozenset({Role.ADMIN}), nodes=ANY, hosts=ANY, stores=ANY)
    denial = check_of("/gossipcontrol.v1.GossipControl/New")(admin, GetMessageClass(METHODS[OWNED[0][0]].input_type)())
    assert denial is not None
    assert denial.field == ""


def test_the_second_of_many_is_named() -> None:
    method = "/gossipcontrol.v1.GossipControl/PeerLiveness"
    request: Any = GetMessageClass(METHODS[method].input_type)()
    for node in ("mine", "theirs"):
        request.reports.add(node_id=node, store_id="s")
    mine = Identity(name="x", roles=frozenset({Role.AGENT}), nodes=("mine",), stores=ANY)
    denial = check_of(method)(mine, request)
    assert denial is not None
    assert denial.field == "reports[1].node_id"
    assert "theirs" not in denial.why
