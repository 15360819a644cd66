"""The documents agree with the code: paths, links, tests, keys, metrics, defaults and line lengths."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path

import pytest
from gossipcontrol.server.config import Config, Metrics

from tests.kit.markdown import TOP, blocks, documents, inline_code, prose, tracked
from tests.kit.service_lab import config, serving

LONGEST = 120
TEXT = ("*.md", "*.py", "*.toml", "*.yml", "*.yaml", "*.sh", "*.proto", "*.rules", "*.service", "Makefile", ".ci/*")
CODE = ("*.go", "*.rs", "*.ts", "*.kt", "*.swift")
BASES = (TOP, TOP / "server/gossipcontrol/server", TOP / "clients/gossipcontrol")
"""What a path in a document may be relative to, besides the document itself."""
DOCS = TOP / "docs"
ALGORITHM = DOCS / "algorithm"
TUNABLE = ("deciding", "liveness", "knowledge")
"""Sections of the configuration whose keys are parameters of the core, each with a row in docs/algorithm."""
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| `(\w+)\.(\w+)` \| (?:([\d,.]+)(?: s)?|`([^`]+)`|empty) \|", re.MULTILINE)
"""A row of a table that quotes a key's default, a number, a string in backticks or `empty`, in its second column."""
LIFECYCLE = re.compile(
    r"<!-- rejoin-lifecycle:begin -->\n```mermaid\nstateDiagram-v2\n.*?```\n<!-- rejoin-lifecycle:end -->", re.DOTALL
)


def name(path: Path) -> str:
    return str(path.relative_to(TOP))


each_document = pytest.mark.parametrize("path", documents(), ids=name)


def test_no_line_is_longer_than_the_limit() -> None:
    found = [
        f"{name(path)}:{number} has {len(line)} characters"
        for path in tracked(*TEXT, *CODE)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > LONGEST
    ]
    assert found == []


@each_document
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    broken: list[str] = []
    for found in LINK.findall(prose(path)):
        link = found[0] or found[1]
        if re.match(r"[a-z]+://", link):
            continue
        target, _, anchor = link.partition("#")
        there = (path.parent / target).resolve() if target else path
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert broken == []


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_path_exists(path: Path) -> None:
    named = {code for code in inline_code(path) if is_path(code)}
    for block in blocks(path):
        if block.language == "text":
            named |= set(re.findall(r"(?<![\w./])\w+/[\w/]+\.py\b", block.text))
    missing = sorted(code for code in named if not exists(path, code))
    assert missing == []


def is_path(code: str) -> bool:
    """Whether this is a path inside the repository: it has a slash, and is neither absolute nor an address.

    A media type and the package of the protos in Go look like paths too.
    """
    is_other = code.startswith("application/") or code == "gossipcontrol/v1"
    return not is_other and re.fullmatch(r"[\w.][\w.*-]*(/[\w.*-]+)*/[\w.*-]*", code) is not None


def exists(document: Path, code: str) -> bool:
    return any(any(base.glob(code.rstrip("/"))) for base in (*BASES, document.parent))


def test_every_test_that_is_named_exists() -> None:
    there = {test for path in tracked("tests/*.py") for test in re.findall(r"def (test_\w+)", path.read_text("utf-8"))}
    named = {
        (name(path), code) for path in documents() for code in inline_code(path) if re.fullmatch(r"test_\w+", code)
    }
    assert len(named) >= 100
    assert sorted(one for one in named if one[1] not in there) == []


def test_every_place_of_a_loop_exists() -> None:
    """The code that keeps a loop from running away is named by its class or function, and is there."""
    texts = (path.read_text("utf-8") for path in tracked("server/*.py", "clients/*.py"))
    there = {name for text in texts for name in re.findall(r"^ *(?:async )?(?:class|def) (\w+)", text, re.MULTILINE)}
    rows = re.findall(r"^\|[^|]*\|[^|]*\| (`[^|]+) \|$", (ALGORITHM / "loops.md").read_text("utf-8"), re.MULTILINE)
    named = {code for row in rows for code in re.findall(r"`([\w.]+)`", row)}
    assert len(named) >= 30
    assert [code for code in sorted(named) if not there.issuperset(code.split("."))] == []


def documented() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in documents() if path.is_relative_to(DOCS))


def shipped() -> dict[str, dict[str, object]]:
    """The shipped configuration: every key with its default, as its own test says."""
    return tomllib.loads((TOP / "deploy/gossipcontrol.toml").read_text(encoding="utf-8"))


def test_every_config_key_is_documented() -> None:
    text = documented()
    missing = [
        f"{section}.{key}" for section, keys in shipped().items() for key in keys if f"`{section}.{key}`" not in text
    ]
    assert missing == []


def test_every_default_in_the_tables_is_that_of_the_code() -> None:
    rows = [row for path in documents() if path.is_relative_to(DOCS) for row in ROW.findall(path.read_text("utf-8"))]
    default = shipped()
    wrong = {
        f"{section}.{key}": (number or text, default[section][key])
        for section, key, number, text in rows
        if default[section][key] != (float(number.replace(",", "")) if number else text)
    }
    assert wrong == {}, "as documented, and as it is"
    assert {row[:2] for row in rows} == {(section, key) for section, keys in default.items() for key in keys}


def test_every_parameter_has_one_row_beside_its_rules() -> None:
    rows = [row[:2] for path in ALGORITHM.glob("*.md") for row in ROW.findall(path.read_text(encoding="utf-8"))]
    default = Config()
    wanted = [(section, key.name) for section in TUNABLE for key in fields(getattr(default, section))]
    assert sorted(rows) == sorted(wanted)


async def test_the_metrics_that_are_documented_are_those_there_are(tmp_path: Path) -> None:
    async with serving(replace(config(tmp_path), metrics=Metrics(address="127.0.0.1:0"))) as service:
        page = await service.scrape()
    there = {family for family in re.findall(r"# TYPE (gossipcontrol_\w+)", page) if not family.endswith("_created")}
    table = set(re.findall(r"^\| `(gossipcontrol_\w+)` \|", (DOCS / "metrics.md").read_text("utf-8"), re.MULTILINE))
    assert table == there
    named = {code for path in documents() for code in inline_code(path) if code.startswith("gossipcontrol_")}
    assert sorted(named - there) == []


def test_the_life_of_a_rejoin_is_drawn_between_its_markers() -> None:
    assert LIFECYCLE.search((ALGORITHM / "deciding.md").read_text(encoding="utf-8"))
