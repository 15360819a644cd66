"""Sources that nothing here can compile are parsed: Swift, and Kotlin that needs the Android SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import tree_sitter_kotlin
import tree_sitter_swift
from gossipcontrol.v1 import gossip_control_pb2 as pb
from tree_sitter import Language, Node, Parser

from tests.kit.markdown import TOP, tracked

GRAMMARS = {
    ".swift": Language(tree_sitter_swift.language()),  # pyright: ignore[reportDeprecated] # its stubs are old
    ".kt": Language(tree_sitter_kotlin.language()),
}
SOURCES = tracked("clients/swift/*.swift", "clients/kotlin/*.kt")
SWIFT = TOP / "clients/swift/Sources/GossipControlClient.swift"


def faults(suffix: str, source: bytes) -> list[str]:
    """Where the source is not of its language."""
    tree = Parser(GRAMMARS[suffix]).parse(source)
    return [f"line {node.start_point.row + 1}" for node in nodes(tree.root_node) if node.is_error or node.is_missing]


def nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from nodes(child)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_is_of_its_language(path: Path) -> None:
    source = path.read_bytes()
    assert faults(path.suffix, source) == []
    assert faults(path.suffix, source.replace(b"{", b"", 1)), "the parser finds what is missing"


def test_the_swift_client_uses_fields_and_values_that_exist() -> None:
    """It has no generated code that a compiler would check."""
    text = SWIFT.read_text(encoding="utf-8")
    given = set(re.findall(r"(?:let|var) (\w+):", text[text.index("struct Report") : text.index("struct Answer")]))
    assert given == {"requestId", "nodeIds", "kind", "platform", "parkUnknown", "ageMs"}
    assert given <= {field.json_name for field in pb.ReportNetworkChangeRequest.DESCRIPTOR.fields}
    kinds = set(re.findall(r'"(NETWORK_CHANGE_KIND_\w+)"', text))
    assert kinds == set(pb.NetworkChangeKind.keys()) - {"NETWORK_CHANGE_KIND_UNSPECIFIED"}
    assert set(re.findall(r'"(PLATFORM_\w+)"', text)) <= set(pb.Platform.keys())
    assert 'ReportNetworkChange"' in text
