"""Which interfaces count: the name is the first word, what the host is like the last."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from gossipcontrol.watch.change import DEFAULT_V4, Link, Route, Snapshot
from gossipcontrol.watch.scope import SUMMARY, Filter, Scope, choose_links
from hypothesis import given
from hypothesis import strategies as st

DEFAULT = Filter.default()
LO = Link(1, "lo", True, loopback=True)


def scope(links: Sequence[Link], *routes: Route, chosen: Filter = DEFAULT) -> Scope:
    return choose_links(Snapshot((LO, *links), (), routes), chosen)[1]


def test_include_wins_over_the_default_list_and_ignore_adds_to_it() -> None:
    chosen = Filter.default(include=("tun0",), ignore=("eth*",))
    assert [name for name in ("tun0", "tun1", "eth0", "wlan0", "lo") if chosen.counts(name)] == ["tun0", "wlan0"]


@pytest.mark.parametrize(
    "name", ["lo", "docker0", "veth1", "br-0a1b", "cni0", "flannel.1", "cali12", "tun0", "tap0", "wg0", "zt7"]
)  # fmt: skip
def test_ignored_by_default(name: str) -> None:
    assert not DEFAULT.counts(name)


@pytest.mark.parametrize("name", ["eth0", "enp3s0", "wlan0", "wlp2s0", "wwan0", "br0", "bond0", "usb0"])
def test_watched_by_default(name: str) -> None:
    assert DEFAULT.counts(name)


@pytest.mark.parametrize("name", ["tap0", "docker0", "br-1f2e3d4c", "wg0", "podman0"])
def test_what_is_ignored_counts_where_there_is_nothing_else(name: str) -> None:
    """moby/moby#25139, projectcalico/calico#7045: in a rootless container the only interface is tap0."""
    found = scope([Link(2, name, True)])
    assert found.watched == {name: "there is nothing else"}
    assert found.ignored == {"lo": "loopback"}


def test_an_ignored_name_that_the_only_default_route_leads_through_counts() -> None:
    links = [Link(2, "eth0", True), Link(3, "tun0", True), Link(4, "docker0", True)]
    found = scope(links, Route(DEFAULT_V4, 3, "", "10.8.0.2"))
    assert found.watched == {"eth0": "", "tun0": "the only way out"}
    assert found.ignored == {"lo": "loopback", "docker0": "named docker*"}


def test_a_tunnel_over_a_route_that_counts_does_not() -> None:
    links = [Link(2, "eth0", True), Link(3, "tun0", True)]
    under = Route(DEFAULT_V4, 2, "10.0.0.1", "10.0.0.2", used=False)
    assert list(scope(links, Route(DEFAULT_V4, 3, "", "10.8.0.2"), under).watched) == ["eth0"]


def test_a_bridge_counts_through_its_port() -> None:
    links = [Link(2, "eth0", True, master=3), Link(3, "br-lan", True, kind="bridge"), Link(4, "br-1f2e", True)]
    assert scope(links).watched == {"eth0": "", "br-lan": "its port counts"}


@pytest.mark.parametrize(
    ("links", "words"),
    [
        ([], "watching no interface; ignoring lo (loopback)"),
        ([Link(2, "eth0", True)], "watching eth0; ignoring lo (loopback)"),
        ([Link(2, "tap0", True)], "watching tap0 (there is nothing else); ignoring lo (loopback)"),
        (
            [Link(2, "eth0", True), *(Link(number, f"veth{number:06}", True) for number in range(3, 40))],
            "watching eth0; ignoring 37 named veth*, lo (loopback)",
        ),
    ],
)
def test_the_summary_names_what_is_watched_and_what_is_ignored_and_why(links: list[Link], words: str) -> None:
    assert scope(links).summary() == words


@given(st.lists(st.sampled_from(("eth", "tun", "veth", "wlan", "docker")), max_size=40))
def test_the_summary_is_never_too_long(kinds: list[str]) -> None:
    names = [f"{kind}{number}abcdefghi"[:15] for number, kind in enumerate(kinds)]
    found = scope([Link(number + 2, name, True) for number, name in enumerate(names)])
    assert len(found.summary()) <= SUMMARY
    assert found.summary().startswith("watching ")
    assert "; ignoring " in found.summary()
