"""A week of ordinary life as Prometheus would have scraped it, made from rules: python -m dev.ordinary_life SITE.

People come and go, laptops close, phones sleep, visitors leave, networks change, the service is upgraded. Alerts must
be silent; each trouble on top of it must fire its own alert and no other. Prints a file for promtool test rules.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

DAY = 24 * 60
"""Minutes."""
RULES = Path(__file__).parents[1] / "deploy" / "prometheus" / "gossipcontrol.rules"
STATES = ("online", "suspect", "offline", "asleep", "left", "unknown")
SHOWN = (9 * 60, 17 * 60)
"""The part of a day that a trouble is played in."""
TROUBLE = (3 * 60, 7 * 60)
"""Minutes of that part: from noon for four hours."""
EVERY = "2m"
"""How often rules are evaluated: the shortest ``for`` among them. Each minute as well would take twice the time."""
SLOW, FAST = "0.5", "0.005"
"""Two buckets of commits."""

ETCD_SIZE, ETCD_QUOTA = (
    'etcd_mvcc_db_total_size_in_bytes{instance="e"}',
    'etcd_server_quota_backend_bytes{instance="e"}',
)
"""Of one member of etcd, by its own names."""

Series = dict[str, list[float | None]]
"""Values by series, one per minute; None: nothing was scraped."""
Hours = Callable[[int], bool]
"""Whether a device is in use at a minute of the week."""


@dataclass
class Device:
    """One node: how it is used, and how it goes."""

    hours: Hours
    tells: float = 0.7
    """Share of its goings in which it says that it sleeps; otherwise it just falls silent."""
    leaves: float = 0.0
    """Share of its goings in which it leaves for good, as a visitor does."""
    state: str = "unknown"
    silent: int = 0
    """Minutes for which it has been silent."""
    seen_at: int = 0
    """The last minute in which it was there."""


@dataclass
class Site:
    """A group of devices around one service that always runs."""

    devices: list[Device]
    upgrade: int
    """The minute of the week at which the service is restarted."""
    random: random.Random = field(default_factory=lambda: random.Random(17))


# Rules of use. A device is in use, or not, for half an hour: people do not toss a coin every minute.


@cache
def _coin(seed: str) -> float:
    return random.Random(seed).random()


def _daily(begin: float, end: float, share: float, days: Sequence[int] = range(7), shift: int = 0) -> Hours:
    """In use between these hours, earlier by minutes, for this share of the half hours."""

    def used(minute: int) -> bool:
        day, within = divmod(minute + shift, DAY)
        is_open = day % 7 in days and begin <= within / 60 < end
        return is_open and _coin(f"{begin} {end} {shift} {(minute + shift) // 30}") < share

    return used


def _always(minute: int) -> bool:
    """Never switched off."""
    del minute
    return True


def _downtime(at: int, length: int) -> Hours:
    """Away for some minutes once a day."""
    return lambda minute: not at <= minute % DAY < at + length


def household() -> Site:
    """Two people with a laptop and a phone each, a desktop, a visitor on Saturday, and a power strip.

    The strip is switched off last at night, with two machines on it: all that is left falls silent at once.
    """
    dice = random.Random(1)
    phones = [Device(_daily(7, 23, 0.6, shift=dice.randrange(90)), tells=0.5) for _ in range(3)]
    laptops = [Device(_daily(8, 22, 0.5, shift=dice.randrange(90)), tells=0.8) for _ in range(2)]
    strip = [Device(_daily(0, 1.5, 1), tells=0) for _ in range(2)]
    return Site(
        [*phones, *laptops, Device(_daily(18, 22, 0.7), tells=0.2), Device(_daily(14, 20, 1, (5,)), leaves=1), *strip],
        upgrade=6 * DAY + 9 * 60,
    )


def office() -> Site:
    """Sixty laptops in the hours of work, lunch with closed lids, five machines that stay on, visitors."""
    dice = random.Random(2)
    morning = [Device(_daily(8, 12.2, 0.95, range(5), shift=dice.randrange(-60, 60))) for _ in range(30)]
    whole = [Device(_daily(9, 18, 0.9, range(5), shift=dice.randrange(-60, 90))) for _ in range(30)]
    visitors = [Device(_daily(10 + n, 12 + n, 1, (n % 5,)), leaves=1) for n in range(5)]
    return Site([*morning, *whole, *visitors, *(Device(_always) for _ in range(5))], upgrade=2 * DAY + 19 * 60)


def fleet() -> Site:
    """Three hundred machines that stay on; some restart every night, a site of ten loses its uplink once a day."""
    steady = [Device(_always) for _ in range(230)]
    nightly = [Device(_downtime(60 + 11 * n, 8), tells=0, leaves=0.5) for n in range(60)]
    remote = [Device(_downtime(15 * 60, 25), tells=0) for _ in range(10)]
    return Site([*steady, *nightly, *remote], upgrade=3 * DAY + 10 * 60)


SITES: Mapping[str, Callable[[], Site]] = {"household": household, "office": office, "fleet": fleet}

# What is scraped.


def live(site: Site, minutes: int) -> Series:
    """The series of a site, minute by minute."""
    recorder, before = Recorder(), 0
    for minute in range(minutes):
        if site.upgrade <= minute % (7 * DAY) < site.upgrade + 2:
            recorder.restart()
            continue
        moved, told = _step(site, minute, deaf=recorder.deaf)
        states = Counter(device.state for device in site.devices)
        online = states["online"]
        is_cut = online == 0 and before >= 2 and not told
        recorder.deaf = 0 if online else recorder.deaf + 60 * (is_cut or recorder.deaf > 0)
        recorder.overloaded = recorder.overloaded + 60 if _hears_few(site, minute) else 0
        recorder.record(minute, states, moved, site.random)
        before = online
    return recorder.series


def _hears_few(site: Site, minute: int) -> bool:
    """Whether fewer than half of 50 or more that were there within ten minutes, and did not say that they go, are."""
    expected = online = 0
    for device in site.devices:
        if device.state == "online":
            device.seen_at = minute
            online += 1
        expected += device.state in ("online", "suspect", "offline") and minute - device.seen_at <= 10
    return expected >= 50 and online < expected / 2


def _step(site: Site, minute: int, *, deaf: int) -> tuple[int, bool]:
    """Let each device live for a minute; how many came or went, and whether any of them said that it goes."""
    moved, told = 0, False
    for device in site.devices:
        used, dice = device.hours(minute), site.random
        if used and device.state != "online":
            device.state, moved = "online", moved + 1
        elif not used and device.state == "online":
            moved += 1
            device.silent = 0
            left, asleep = dice.random() < device.leaves, dice.random() < device.tells
            device.state = "left" if left else "asleep" if asleep else "suspect"
            told = told or left or asleep
        elif device.state == "suspect":
            device.silent += 1
            if device.silent >= 2 and not deaf:
                device.state = "offline"
    return moved, told


class Recorder:
    """Writes series, minute by minute, with counters that begin again at a restart."""

    def __init__(self) -> None:
        self.series: Series = {}
        self.deaf = self.overloaded = 0
        self._minutes = 0
        self._counts: Counter[str] = Counter()
        self._parted = 0

    def restart(self) -> None:
        """A minute in which nothing answers."""
        self._counts.clear()
        self._write({'up{job="gossipcontrol",instance="i"}': 0})

    def record(self, minute: int, states: Counter[str], moved: int, dice: random.Random) -> None:
        """A minute of service."""
        self._count(states["online"], moved, dice)
        online = states["online"]
        self._parted = dice.randrange(1, 4) if dice.random() < 0.01 * moved else max(0, self._parted - 1)
        values: dict[str, float] = {
            'up{job="gossipcontrol",instance="i"}': 1,
            'process_open_fds{job="gossipcontrol",instance="i"}': 60 + online,
            'process_max_fds{job="gossipcontrol",instance="i"}': 65536,
            name("deaf_seconds"): self.deaf,
            name("overloaded_seconds"): self.overloaded,
            name("state_accepting"): 1,
            name("owner"): 1,
            name("epoch"): 3,
            name("standbys"): 2,
            name("standby_lag_entries"): moved,
            name("replay_diverged_total"): 0,
            ETCD_SIZE: 300e6 + 100e6 * math.sin(minute / 300),
            ETCD_QUOTA: 2e9,
            name("agents_attached"): online,
            name("partitions", store="notes"): 1 if self._parted else 0,
            name("store_staleness_seconds", store="notes"): 60 if states["suspect"] else 2,
            name("pairs_unsynced"): min(online // 2, 9),
            name("rejoin_queue_length"): moved * 3,
            name("memory_limit_bytes"): 1000,
            name("memory_bytes", book="nodes"): round(300 + 100 * math.sin(minute / 700)),
            name("memory_bytes", book="peers"): 200,
            name("knowledge_forks", store="notes"): 0,
        }
        values |= {name("store_peers", store="notes", state=state): states[state] for state in STATES}
        values |= {series: float(count) for series, count in self._counts.items()}
        self._write(values)

    def _count(self, online: int, moved: int, dice: random.Random) -> None:
        """What adds up: findings after changes of networks, calls, commits; some counters stay at zero."""
        counts = self._counts
        for kind, share in (("isolated", 0.02), ("inbound_rot", 0.005), ("outbound_rot", 0.005)):
            counts[name("rot_detected_total", kind=kind)] += sum(dice.random() < share for _ in range(moved))
        counts[name("escalations_total", rung="resubscribe")] += dice.random() < 0.01 * moved
        counts[name("escalations_total", rung="restart_advised")] += 0
        for code, share in (("OK", 1.0), ("CANCELLED", 0.1), ("UNAVAILABLE", 0.02), ("NOT_FOUND", 0.05)):
            counts[name("requests_total", rpc="PeerLiveness", code=code)] += int(online * 30 * share)
        counts[name("requests_total", rpc="PeerLiveness", code="INTERNAL")] += 0
        commits = online + moved
        counts[name("state_commit_seconds_bucket", le=FAST)] += commits
        slow = dice.random() < 0.01
        counts[name("state_commit_seconds_bucket", le=SLOW)] += commits
        counts[name("state_commit_seconds_bucket", le="+Inf")] += commits + slow
        counts[name("state_commit_seconds_bucket", le="2")] += commits
        counts[name("reports_shed_total")] += 3 if dice.random() < 0.0005 else 0
        counts[name("knowledge_refused_total", reason="full")] += 0
        counts[name("knowledge_refused_total", reason="authors")] += 0
        counts[name("knowledge_refused_total", reason="invalid")] += dice.random() < 0.001
        counts[name("shared_ids_total", kind="node")] += 0

    def _write(self, values: Mapping[str, float]) -> None:
        for series in values.keys() - self.series.keys():
            self.series[series] = [None] * self._minutes
        self._minutes += 1
        for series, written in self.series.items():
            written.append(values.get(series))


def name(family: str, **labels: str) -> str:
    """A series of the service."""
    listed = ",".join(f'{key}="{value}"' for key, value in {**labels, "instance": "i"}.items())
    return f"gossipcontrol_{family}{{{listed}}}"


# Troubles: what is different between noon and four in the afternoon.


def _is(value: float) -> Callable[[float, int], float | None]:
    return lambda old, minute: value


def _grows(step: float) -> Callable[[float, int], float | None]:
    return lambda old, minute: old + step * minute


def _gone(old: float, minute: int) -> None:
    del old, minute


Difference = Mapping[str, Callable[[float, int], "float | None"]]
"""By series, the value of a minute of the trouble; what grows stays."""

TROUBLES: Mapping[str, Difference] = {
    "Down": {"*": _gone, 'up{job="gossipcontrol",instance="i"}': _is(0)},
    "Deaf": {
        name("deaf_seconds"): lambda old, minute: 60.0 * (minute + 1),
        name("overloaded_seconds"): lambda old, minute: 60.0 * (minute + 1),
        name("agents_attached"): _is(0),
        name("store_peers", store="notes", state="online"): _is(0),
        name("store_peers", store="notes", state="suspect"): _is(300),
    },
    "Overloaded": {
        name("overloaded_seconds"): lambda old, minute: 60.0 * (minute + 1),
        name("store_peers", store="notes", state="online"): _is(100),
        name("store_peers", store="notes", state="suspect"): _is(200),
    },
    "StateFailing": {name("state_accepting"): _is(0)},
    "NoOwner": {name("owner"): _is(0)},
    "ReplayDiverged": {name("replay_diverged_total"): lambda old, minute: 1.0},
    "NoStandby": {name("standbys"): _is(0)},
    "StandbyLag": {name("standby_lag_entries"): _grows(1000)},
    "EtcdFull": {ETCD_SIZE: _is(1.7e9)},
    "RestartAdvised": {name("escalations_total", rung="restart_advised"): lambda old, minute: 1.0},
    "Partition": {name("partitions", store="notes"): _is(1)},
    "MassSilence": {
        name("store_peers", store="notes", state="online"): _is(100),
        name("store_peers", store="notes", state="offline"): _is(200),
    },
    "Rot": {name("rot_detected_total", kind="inbound_rot"): _grows(10)},
    "PairsUnsynced": {name("pairs_unsynced"): _is(5000)},
    "Queue": {name("rejoin_queue_length"): _is(5000)},
    "Memory": {name("memory_bytes", book="peers"): _is(700)},
    "Descriptors": {'process_open_fds{job="gossipcontrol",instance="i"}': _is(60_000)},
    "ReportsShed": {name("reports_shed_total"): _grows(5)},
    "SlowCommits": {name("state_commit_seconds_bucket", le="+Inf"): _grows(1000),
                    name("state_commit_seconds_bucket", le="2"): _grows(1000)},
    "CallsFail": {name("requests_total", rpc="PeerLiveness", code="INTERNAL"): _grows(0.1)},
    "KnowledgeFull": {name("knowledge_refused_total", reason="full"): _grows(7)},
    "Forks": {name("knowledge_forks", store="notes"): _is(2)},
    "SharedIds": {name("shared_ids_total", kind="node"): lambda old, minute: 1.0},
}  # fmt: skip
"""By alert, without its prefix."""


def trouble(series: Series, difference: Difference) -> Series:
    """The series with a trouble; a counter that grew in it stays as high afterwards."""
    begin, end = TROUBLE
    changed = {key: list(values) for key, values in series.items()}
    for key, values in changed.items():
        change = difference.get(key) or (difference.get("*") if key not in difference else None)
        if change is None:
            continue
        for minute in range(begin, min(end, len(values))):
            values[minute] = change(values[minute] or 0.0, minute - begin)
        if "_total" in key or "_bucket" in key:
            last = change(0.0, end - 1 - begin) or 0.0
            for minute in range(end, len(values)):
                old = values[minute]
                values[minute] = None if old is None else old + last
    return changed


# What promtool reads.


def scene(title: str, series: Series, fires: Sequence[str]) -> dict[str, object]:
    """A test in which exactly these alerts fire at any time."""
    minutes = max(len(values) for values in series.values())
    query = f'group by (alertname) (last_over_time(ALERTS{{alertstate="firing"}}[{minutes}m]))'
    expected = [{"labels": f'{{alertname="GossipControl{one}"}}', "value": 1} for one in fires]
    return {
        "name": title,
        "interval": "1m",
        "input_series": [{"series": key, "values": packed(values)} for key, values in series.items()],
        "promql_expr_test": [{"expr": query, "eval_time": f"{minutes}m", "exp_samples": expected}],
    }


def packed(values: Sequence[float | None]) -> str:
    """Values as promtool writes them, with repeated ones as ``5x9`` (ten of them)."""
    words: list[str] = []
    at = 0
    while at < len(values):
        end = at
        while end + 1 < len(values) and values[end + 1] == values[at]:
            end += 1
        value, more = values[at], end - at
        text = "_" if value is None else f"{value:g}" if value < 1e5 else f"{value:.0f}"
        # ``_x5`` is five of them, ``1x5`` is six.
        words.append(f"_x{more + 1}" if value is None else f"{text}x{more}" if more else text)
        at = end + 1
    return " ".join(words)


def rule_tests(scenes: Sequence[dict[str, object]]) -> str:
    """A file for promtool test rules: JSON, which is YAML."""
    return json.dumps({"rule_files": [str(RULES)], "evaluation_interval": EVERY, "tests": list(scenes)})


def quiet_week(site: str) -> str:
    """A week of a site, in which nothing may fire."""
    return rule_tests([scene(f"a week of a {site}", live(SITES[site](), 7 * DAY), ())])


def troubled_day() -> str:
    """A day of a fleet with each trouble on top, each of which fires its own alert only."""
    begin, end = SHOWN
    calm = {key: values[begin:end] for key, values in live(fleet(), end).items()}
    return rule_tests([scene(one, trouble(calm, difference), (one,)) for one, difference in TROUBLES.items()])


if __name__ == "__main__":
    print(quiet_week(sys.argv[1]))
