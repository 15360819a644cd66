"""The client on a real etcd that has TLS, users, a quota, and members that die."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gossipcontrol.etcd.v3 import etcd_pb2
from gossipcontrol.server.access.authority import AUTHORITY, Authority
from gossipcontrol.server.config import Etcd
from gossipcontrol.server.replicas.replica import read_access
from gossipcontrol.server.state import etcd_client
from gossipcontrol.server.state.etcd_client import EtcdAccess, EtcdClient
from gossipcontrol.server.state.ledger import Late

from tests.kit.etcd import needs_etcd, running_etcd
from tests.kit.until import DEADLINE, until

pytestmark = needs_etcd


@asynccontextmanager
async def client(access: EtcdAccess, read_access: Any = None) -> AsyncGenerator[EtcdClient]:
    made = EtcdClient(access, read_access)
    try:
        yield made
    finally:
        await made.close()


class Files:
    """What a replica is configured with, and etcd too; it can be replaced."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def replace(self, authority: Authority) -> None:
        """Give out what another authority signs; the client trusts the servers of both, as in a rotation."""
        self.directory.mkdir(exist_ok=True)
        authority.found()
        authority.issue("etcd", 1, ["127.0.0.1"])
        authority.issue("replica", 1)
        with (self.directory / "trusted.crt").open("ab") as trusted:
            trusted.write(authority.path(AUTHORITY, "crt").read_bytes())
        shutil.copy(authority.path(AUTHORITY, "crt"), self.directory / "clients.crt")
        for name in ("etcd", "replica"):
            for kind in ("crt", "key"):
                shutil.copy(authority.path(name, kind), self.directory / f"{name}.{kind}")

    @property
    def flags(self) -> list[str]:
        """Of etcd."""
        names = {"cert-file": "etcd.crt", "key-file": "etcd.key", "trusted-ca-file": "clients.crt"}
        return ["--client-cert-auth", *(f"--{flag}={self.directory / name}" for flag, name in names.items())]

    def access(self, endpoints: list[str], name: str = "replica") -> EtcdAccess:
        """Of a client with a certificate, or without one."""
        certificate, key = (
            (self.directory / f"{name}.{kind}").read_bytes() if name else None for kind in ("crt", "key")
        )
        authority = (self.directory / "trusted.crt").read_bytes()
        return EtcdAccess(endpoints=endpoints, authority=authority, certificate=certificate, key=key)


async def test_certificates_are_needed_and_can_be_replaced_while_the_client_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files were read once, so a replica had to be restarted before its first certificate was over."""
    monkeypatch.setattr(etcd_client, "RENEW_INTERVAL", 0.02)
    monkeypatch.setattr(etcd_client, "PATIENCE", 30.0)
    files, looks = Files(tmp_path / "pki"), 0
    files.replace(Authority(tmp_path / "first"))
    async with running_etcd(tmp_path, 1, *files.flags, access=files.access) as etcd:

        def look() -> EtcdAccess:
            nonlocal looks
            looks += 1
            return files.access(etcd.endpoints)

        async with client(files.access(etcd.endpoints), look) as ours:
            await ours.put(b"a", b"1")
            right = (files.directory / "replica.crt").read_bytes()
            (files.directory / "replica.crt").write_bytes(right[:100])
            before = looks
            await until(lambda: looks > before + 1, "half a file was tried")
            await ours.put(b"a", b"2")

            files.replace(Authority(tmp_path / "second"))
            await etcd.kill(0)
            await etcd.start(0)
            await ours.put(b"a", b"3")
            assert [one.value for one in (await ours.range(etcd_pb2.RangeRequest(key=b"a"))).kvs] == [b"3"]
        monkeypatch.setattr(etcd_client, "PATIENCE", 0.1)
        async with client(files.access(etcd.endpoints, "")) as stranger:
            with pytest.raises(Late):
                await stranger.put(b"a", b"stranger")


async def test_why_etcd_and_a_replica_do_not_come_together_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The core of gRPC says "Unwrap failed (TSI_DATA_CORRUPTED)" of a certificate that has expired."""
    monkeypatch.setattr(etcd_client, "PATIENCE", 0.1)
    files, authority = Files(tmp_path / "pki"), Authority(tmp_path / "first")
    files.replace(authority)
    authority.issue("old", -0.01)
    (other := Authority(tmp_path / "other")).found()
    believed, foreign = str(authority.path(AUTHORITY, "crt")), str(other.path(AUTHORITY, "crt"))
    old, key = (str(authority.path("old", kind)) for kind in ("crt", "key"))
    async with running_etcd(tmp_path, 1, *files.flags, access=files.access) as etcd:
        for given, why in (
            (Etcd(authority=believed, certificate=old, key=key), f"it refuses the certificate in {old}, which has exp"),
            (Etcd(authority=believed), "it wants a certificate, and none is shown; set etcd.certificate and etcd.key"),
            (
                Etcd(authority=foreign),
                f"the authority in {foreign} did not sign its certificate; take the one that did",
            ),
            (Etcd(), "it speaks TLS; set etcd.authority"),
        ):
            access = read_access(replace(given, endpoints=",".join(etcd.endpoints)))
            async with client(access) as refused, asyncio.timeout(DEADLINE):
                said = ""
                while f"etcd at {etcd.endpoints[0]}: {why}" not in said:
                    with pytest.raises(Late) as late:
                        await refused.put(b"a", b"refused")
                    said = str(late.value)


async def test_a_token_that_is_over_is_asked_for_again_and_so_is_one_of_a_changed_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_client, "RENEW_INTERVAL", 0.02)
    password = "first"
    async with running_etcd(tmp_path, 1, "--bcrypt-cost", "4") as etcd:

        def access() -> EtcdAccess:
            return EtcdAccess(endpoints=etcd.endpoints, user="root", password=password)

        await etcd.operate("auth/user/add", name="root", password=password)
        await etcd.operate("auth/role/add", name="root")
        await etcd.operate("auth/user/grant", user="root", role="root")
        await etcd.operate("auth/enable")
        async with client(access(), access) as ours, client(EtcdAccess(endpoints=etcd.endpoints)) as stranger:

            async def put_many(value: bytes) -> str:
                await asyncio.gather(*(ours.put(b"%d" % number, value) for number in range(10)))
                return str(vars(ours)["_token"])

            with pytest.raises(Late, match="user name is empty"):
                await stranger.put(b"a", b"0")
            first = await put_many(b"1")
            vars(ours)["_token"] = f"{first}1"  # etcd says the same of a token whose time is over
            second = await put_many(b"2")
            assert second not in ("", first)
            password = "second"
            await etcd.operate("auth/user/changepw", second, name="root", password=password)
            await until(lambda: vars(ours)["_access"] == access(), "the new password is taken")
            await put_many(b"3")
            await etcd.operate("auth/user/add", vars(ours)["_token"], name="other", password="x")
            await put_many(b"4")
