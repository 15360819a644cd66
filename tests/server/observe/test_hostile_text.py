"""Whatever strangers put into their ids, a log line stays one line of readable text, and can be read back."""

from __future__ import annotations

import io
import json
import re

import pytest
from gossipcontrol.server.config import Log
from gossipcontrol.server.observe.log import Logger
from gossipcontrol.v1.gossip_control_pb2 import NETWORK_CHANGE_KIND_CHANGED, ReportNetworkChangeRequest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.hostile_text import HOSTILE, raw_characters
from tests.kit.service_lab import BareAgent, config, connected, deciding, rejoin, serving

FORMATS = ("logfmt", "json")
FIELD = re.compile(r'([a-z]+)=("(?:[^"\\]|\\.)*"|[^ "=]*)')


def written(format_: str, text: str) -> str:
    output = io.StringIO()
    Logger(Log(format=format_), output).warning("restart advised", node=text, detail="d")
    return output.getvalue()


def read_back(format_: str, line: str) -> dict[str, str]:
    """The fields of a line, as a program reads them."""
    if format_ == "json":
        fields: dict[str, str] = json.loads(line)
        return fields
    pairs = FIELD.findall(line.rstrip("\n"))
    assert " ".join(f"{name}={value}" for name, value in pairs) == line.rstrip("\n"), "nothing but fields"
    return {name: json.loads(value) if value.startswith('"') else value for name, value in pairs}


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_id_is_escaped(format_: str, text: str) -> None:
    """rsyslog/rsyslog#1138, josheppinette/python-logfmter#52: ESC and CR of others reached the log."""
    line = written(format_, text)
    assert raw_characters(line) == set()
    assert line.count("\n") == 1
    assert read_back(format_, line)["node"] == text


@pytest.mark.parametrize("format_", FORMATS)
@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_read_back(format_: str, text: str) -> None:
    line = written(format_, text)
    assert line[:-1].isprintable()
    assert read_back(format_, line) == {**read_back(format_, line), "node": text, "detail": "d", "level": "warning"}


@pytest.mark.parametrize("format_", FORMATS)
async def test_what_agents_and_callers_say_is_escaped_in_the_service_s_log(
    format_: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = config(tmp_path_factory.mktemp("s"), deciding=deciding())
    async with serving(settings) as service, connected(service.address) as stub:
        output = io.StringIO()
        logger = Logger(Log(format=format_), output)
        for name, value in vars(logger).items():
            setattr(service.log, name, value)
        for number, text in enumerate(HOSTILE.values()):
            agent = BareAgent(stub)
            await agent.register(f"{text}{number}", text, host_id=f"{text}{number}")
            await stub.Rejoin(rejoin(f"{text}{number}", text))
            await stub.ReportNetworkChange(
                ReportNetworkChangeRequest(host_id=f"{text}{number}", kind=NETWORK_CHANGE_KIND_CHANGED, detail=text)
            )
            agent.call.cancel()
        service.log.close()
        lines = output.getvalue()
    assert lines.count("event=decided" if format_ == "logfmt" else '"event": "decided"') >= len(HOSTILE)
    assert raw_characters(lines) == set()
    assert "\t" not in lines
    assert all(read_back(format_, line) for line in lines.splitlines())
