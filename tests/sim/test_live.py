"""With liveness on: partitions heal, rot is found in its time, and a healthy world is left alone; over many seeds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gossipcontrol.server.core.decision import Cause, Rung
from gossipcontrol.server.core.effect import AdviseRestart, StartRejoin
from gossipcontrol.server.core.finding import NodeSuspected, StartSync
from gossipcontrol.sim.live import LiveWorld

from tests.kit.sim.invariant import violations
from tests.kit.sim.scenario import LIVE

ROTS = {Cause.OUTBOUND_ROT, Cause.INBOUND_ROT}


def runs(*names: str) -> Iterator[object]:
    for scenario in LIVE:
        if scenario.name in names:
            yield from (pytest.param(scenario, seed, id=f"{scenario.name} {seed}") for seed in range(scenario.seeds))


def run(scenario: object, seed: int) -> LiveWorld:
    (found,) = [one for one in LIVE if one is scenario]
    world = LiveWorld(found, seed)
    taken = world.run()
    assert violations(found.parameters, taken) == []
    return world


@pytest.mark.parametrize(("scenario", "seed"), list(runs("all is well")))
def test_nothing_is_suspected_that_is_well(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    for at, node_id, cause in world.suspected():
        assert cause not in ROTS, (at, node_id, cause)
        assert any(at - 20 <= broken <= at for broken in world.broken), (at, node_id, cause)
    assert not world.suspected_at_end()


@pytest.mark.parametrize(
    ("scenario", "seed"), list(runs("cut in two and mended", "one cut off from three", "two of two"))
)
def test_a_partition_heals_within_three_seconds_of_the_path(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    cut_at, mended_at = world.at("cut"), world.at("mended")
    for at, one in world.found:
        if isinstance(one, NodeSuspected) and cut_at < at < mended_at:  # a side that links its own pieces is no mistake
            assert one.cause not in ROTS
            assert not one.bridge or world.cut_off(one.node_id) == world.cut_off(one.bridge[0])
    (first, *_), after = world.suspected(mended_at), [n for at, n in world.components if at > mended_at + 3]
    assert first[2] is Cause.PARTITION
    assert first[0] <= mended_at + 2.5
    assert set(after) == {1}
    assert not world.suspected_at_end()


@pytest.mark.parametrize(("scenario", "seed"), list(runs("nobody hears one node", "large messages of one node vanish")))
def test_outbound_rot_is_found_in_its_time_and_only_there(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    began_at, mended_at = world.at("began"), world.at("mended")
    suspected = world.suspected(began_at)
    assert {(node_id, cause) for _, node_id, cause in suspected} == {("n0", Cause.OUTBOUND_ROT)}
    assert suspected[0][0] <= began_at + 45
    assert sum(at > mended_at for at, _, _ in suspected) <= 1
    assert not world.suspected_at_end()
    starts = [start for one in world.taken for start in one.effects if isinstance(start, StartRejoin)]
    assert any(start.node_id == "n0" and Cause.OUTBOUND_ROT in start.causes for start in starts)


@pytest.mark.parametrize(("scenario", "seed"), list(runs("one node hears nobody")))
def test_inbound_rot_is_found_in_its_time_and_only_there(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    suspected = world.suspected(world.at("began"))
    assert {(node_id, cause) for _, node_id, cause in suspected} == {("n0", Cause.INBOUND_ROT)}
    assert suspected[0][0] <= world.at("began") + 35
    assert not world.suspected_at_end()


@pytest.mark.parametrize(("scenario", "seed"), list(runs("one node beside its service, cut off")))
def test_a_lone_node_beside_its_service_is_one_of_the_overlay_again_soon_after_the_path(
    scenario: object, seed: int
) -> None:
    world = run(scenario, seed)
    mended_at = world.at("mended")
    assert {one for at, one in world.components if at > mended_at + 4} == {1}
    during = [one for at, one, _ in world.suspected(world.at("cut")) if at < mended_at]
    assert len(during) <= 1, "without a path it hardly ever rejoins"


@pytest.mark.parametrize(
    ("scenario", "seed"), list(runs("one node beside its service writes while the others are away"))
)
def test_writes_that_wait_for_absent_peers_advise_no_restart(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    suspected = [cause for _, _, cause in world.suspected(world.at("wrote"))]
    assert suspected.count(Cause.SUSPICION) >= 3
    effects = [effect for one in world.taken for effect in one.effects]
    assert not any(isinstance(effect, AdviseRestart) for effect in effects)
    starts = [one for one in effects if isinstance(one, StartRejoin) and one.causes == (Cause.SUSPICION,)]
    assert {one.rung for one in starts} == {Rung.REJOIN}


@pytest.mark.parametrize(("scenario", "seed"), list(runs("one node beside its service, alone for long")))
def test_a_node_that_is_alone_for_long_probes_less_and_less_often(scenario: object, seed: int) -> None:
    world = run(scenario, seed)
    cut_at, mended_at = world.at("cut"), world.at("mended")
    probes = [at for at, one in world.found if isinstance(one, StartSync) and at > cut_at]
    assert sum(at < cut_at + 250 for at in probes) > 50
    assert sum(cut_at + 900 < at < mended_at for at in probes) <= 4
    starts = [one.at for one in world.taken for effect in one.effects if isinstance(effect, StartRejoin)]
    assert sum(cut_at < at < mended_at for at in starts) <= 6
    assert not any(isinstance(effect, AdviseRestart) for one in world.taken for effect in one.effects)
