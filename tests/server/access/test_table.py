"""The table of identities: what it says, and every mistake in it by row and key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from gossipcontrol.server.access.explanation import UnknownCall, explain_call, explain_table
from gossipcontrol.server.access.fresh import LOOK_INTERVAL, Fresh
from gossipcontrol.server.access.identity import Role, Scope
from gossipcontrol.server.access.ownership import NODE
from gossipcontrol.server.access.table import Table, TableError, digest_of, read_table

NOW = datetime(2026, 6, 1, tzinfo=UTC)
GOOD = f"""
[[identity]]
name = "devices"
certificates = ["laptop-*"]
roles = ["agent"]
nodes = ["{{name}}", "{{name}}.*"]
stores = ["*"]

[[identity]]
name = "screen"
tokens = [{{ sha256 = "{digest_of("secret")}", until = 2026-06-02T00:00:00+02:00 }}]
roles = ["reader"]
stores = ["notes"]

[[identity]]
name = "root"
sockets = [{{ path = "/run/x.sock", group = "adm", mode = "0660" }}]
roles = ["admin"]
"""


def table(directory: Path, text: str) -> Table:
    path = directory / "identities.toml"
    path.write_text(text, encoding="utf-8")
    return read_table(path)


def test_a_certificate_finds_its_row_and_has_its_name_in_the_scopes(tmp_path: Path) -> None:
    found = table(tmp_path, GOOD).by_certificate(["laptop-[1]"])
    assert found is not None
    assert found.name == "laptop-[1]"
    assert found.owns(NODE.roles, Scope.NODES, "laptop-[1]")
    assert found.owns(NODE.roles, Scope.NODES, "laptop-[1].a")
    assert not found.owns(NODE.roles, Scope.NODES, "laptop-1"), "the name is no pattern"
    assert table(tmp_path, GOOD).by_certificate(["printer"]) is None


def test_a_token_finds_its_row_until_its_time_is_over(tmp_path: Path) -> None:
    rows = table(tmp_path, GOOD)
    found = rows.by_token("secret", NOW)
    assert found is not None
    assert found.roles == {Role.READER}
    assert rows.by_token("secret", datetime(2026, 6, 1, 22, tzinfo=UTC)) is None
    assert rows.by_token("other", NOW) is None


def test_a_socket_finds_its_row(tmp_path: Path) -> None:
    rows = table(tmp_path, GOOD)
    found = rows.by_socket("/run/x.sock")
    assert found is not None
    assert all(found.owns_all(scope) for scope in Scope), "an admin's default is everything"
    assert rows.by_socket("/run/y.sock") is None
    assert [(one.path, one.group, one.mode) for one in rows.sockets] == [("/run/x.sock", "adm", 0o660)]


ROW = '[[identity]]\nname = "a"\ncertificates = ["a"]\n'


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("nonsense", "is not TOML"),
        ("identities = 1", "identities: unknown"),
        ("identity = 1", "must be rows"),
        ('[[identity]]\nroles = ["admin"]\ncertificates = ["a"]', "identity 1: name: must be given"),
        ('[[identity]]\nname = "a"\nroles = ["admin"]', "nobody can be it"),
        (ROW, "roles: must be given"),
        (f'{ROW}roles = ["king"]', "'king' is none of agent, watcher, reader, admin"),
        (f'{ROW}roles = ["agent"]\nstores = ["*"]', "nodes: must be given for the role agent"),
        (f'{ROW}roles = ["agent"]\nnodes = ["*"]', "stores: must be given for the role agent"),
        (f'{ROW}roles = ["watcher"]', "hosts: must be given"),
        (f'{ROW}roles = ["admin"]\nnodes = "x"', "nodes: must be a list"),
        (f'{ROW}roles = ["admin"]\nnodes = [1]', "nodes: must be texts"),
        (f'{ROW}roles = ["admin"]\nnode = ["x"]', "node: unknown key"),
        (f'{ROW}roles = ["admin"]\ntokens = ["x"]', "tokens: must be a list of {sha256"),
        (f'{ROW}roles = ["admin"]\ntokens = [{{ sha256 = "x" }}]', "64 hexadecimal digits"),
        (f'{ROW}roles = ["admin"]\ntokens = [{{ hash = "x" }}]', "unknown key hash"),
        (
            f'{ROW}roles = ["admin"]\ntokens = [{{ sha256 = "{"0" * 64}", until = 2027-01-01 }}]',
            "an instant with its offset",
        ),
        (f'{ROW}roles = ["admin"]\nsockets = [{{ path = "x" }}]', "path must be given, and be absolute"),
        (f'{ROW}roles = ["admin"]\nsockets = [{{ path = "/x", mode = "999" }}]', "octal digits"),
        (f'{ROW}roles = ["admin"]\nnodes = ["{{name}}"]\nsockets = [{{ path = "/x" }}]', "no tokens and no sockets"),
        (f'{ROW}roles = ["admin"]\nlimits = 1', "limits: must be a table"),
        (f'{ROW}roles = ["admin"]\nlimits = {{ watcher = 1 }}', "unknown key watcher; known are streams, watchers"),
        (f'{ROW}roles = ["admin"]\nlimits = {{ watchers = 0 }}', "watchers must be a whole number from 1"),
        (f'{ROW}roles = ["admin"]\nlimits = {{ watchers = true }}', "watchers must be a whole number from 1"),
        (f'{ROW}roles = ["admin"]\n{ROW}roles = ["admin"]', "two identities are named a"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, mistake: str) -> None:
    with pytest.raises(TableError) as caught:
        table(tmp_path, text)
    assert any(mistake in one for one in caught.value.mistakes), caught.value.mistakes


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"none\.toml: cannot be read"):
        read_table(tmp_path / "none.toml")


def test_the_table_in_words(tmp_path: Path) -> None:
    assert list(explain_table(table(tmp_path, GOOD))) == [
        "devices: certificate laptop-*: agent; nodes {name}, {name}.*; hosts none; stores *",
        "screen: 1 token: reader; nodes none; hosts none; stores notes",
        "root: socket /run/x.sock (mode 0660, group adm): admin; nodes *; hosts *; stores *",
    ]


def test_a_call_in_words(tmp_path: Path) -> None:
    rows = table(tmp_path, GOOD)
    laptop, screen = rows.by_name("laptop-1"), rows.by_name("screen")
    assert laptop is not None
    assert screen is not None
    assert explain_call(laptop, "Rejoin", {Scope.NODES: "laptop-1"})[0]
    allowed, why = explain_call(laptop, "Rejoin", {Scope.NODES: "laptop-2"})
    assert not allowed
    assert "node_id: needs laptop-2 in the nodes of agent or admin, and has laptop-1, laptop-1.*" in why
    assert "needs the role admin" in explain_call(screen, "Forget", {})[1]
    with pytest.raises(UnknownCall, match="Rejoice is none of Attach"):
        explain_call(screen, "Rejoice", {})


def test_a_changed_file_counts_after_a_second_and_a_broken_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "number"
    path.write_text("1", encoding="ascii")
    now, failures = 0.0, list[Exception]()
    number = Fresh((path,), lambda: int(path.read_text("ascii")), failures.append, lambda: now)
    path.write_text("22", encoding="ascii")
    assert number() == 1
    now += LOOK_INTERVAL
    assert number() == 22
    path.write_text("broken", encoding="ascii")
    now += LOOK_INTERVAL
    assert (number(), len(failures)) == (22, 1)
    now += LOOK_INTERVAL
    assert (number(), len(failures)) == (22, 1), "the same mistake is told once"
    path.unlink()
    now += LOOK_INTERVAL
    assert (number(), len(failures)) == (22, 2)
