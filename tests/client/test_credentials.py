"""What a client shows over TLS: files that the environment or the code names."""

from __future__ import annotations

from pathlib import Path

import pytest
from gossipcontrol.client import Client, Credentials, CredentialsError, SyncClient
from gossipcontrol.client.credentials import channel_credentials


def test_the_environment_names_the_files() -> None:
    environ = {
        "GOSSIPCONTROL_TLS_AUTHORITY": "/a",
        "GOSSIPCONTROL_TLS_CERTIFICATE": "/c",
        "GOSSIPCONTROL_TLS_KEY": "/k",
        "GOSSIPCONTROL_TLS_TOKEN": "/t",
    }
    assert Credentials.from_environment(environ) == Credentials(authority="/a", certificate="/c", key="/k", token="/t")
    assert Credentials.from_environment({}) == Credentials()


@pytest.mark.parametrize("half", [{"certificate": "/c"}, {"key": "/k"}])
def test_half_a_pair_is_refused(half: dict[str, str]) -> None:
    with pytest.raises(CredentialsError, match="belong together"):
        Credentials(**half)


@pytest.mark.parametrize("name", ["authority", "token"])
async def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / "missing.pem")
    given = Credentials(**{name: path})
    with pytest.raises(CredentialsError, match=r"missing\.pem: cannot be read"):
        channel_credentials(given)
    with pytest.raises(CredentialsError):
        SyncClient("tls:h:1", credentials=given)
    async with Client("tls:h:1", credentials=given) as client:
        with pytest.raises(CredentialsError):
            await client.serving()


async def test_an_address_without_tls_needs_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOSSIPCONTROL_TLS_AUTHORITY", "/nowhere")
    with SyncClient("127.0.0.1:1"):
        pass
