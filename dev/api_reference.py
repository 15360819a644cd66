"""Writes docs/api.md from the comments of the .proto files: python -m dev.api_reference."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

TOP = Path(__file__).parent.parent
PAGE = TOP / "docs" / "api.md"
PROTOS = TOP / "proto"
PACKAGE = "gossipcontrol.v1"
WIDTH = 120
ORDER = ("gossip_control", "attach", "decision", "liveness", "peer_knowledge")
"""The files, in the order in which a reader needs them."""
HEAD = """# API reference

Every call, message and enumeration of `gossipcontrol.v1`. Made from the comments of the `.proto` files in
`proto/gossipcontrol/v1/` by `python -m dev.api_reference`: change it there. How to call the service from other
languages: [clients](clients.md).
"""
Comments = Mapping[tuple[int, ...], str]
"""The comment of each element of a file, by its path in the descriptor."""


def descriptors() -> FileDescriptorSet:
    """The files with their comments; raises CalledProcessError."""
    names = [f"gossipcontrol/v1/{name}.proto" for name in ORDER]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "files.binpb"
        arguments = ("-I.", "--include_source_info", f"--descriptor_set_out={path}", *names)
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], cwd=PROTOS, check=True)
        return FileDescriptorSet.FromString(path.read_bytes())


def reference(files: FileDescriptorSet) -> str:
    """The page."""
    by_name = {Path(file.name).stem: file for file in files.file}
    parts = [HEAD]
    for name in ORDER:
        parts += _file(by_name[name], f"{PACKAGE.replace('.', '/')}/{name}.proto")
    return "\n".join(parts)


def _file(file: FileDescriptorProto, name: str) -> Iterator[str]:
    comments = _comments(file)
    yield f"## {name}\n"
    yield _prose(comments[2,])
    for index, service in enumerate(file.service):
        yield from _service(service, comments, (6, index))
    for index, message in enumerate(file.message_type):
        yield from _message(message, comments, (4, index))
    for index, enum in enumerate(file.enum_type):
        yield from _enum(enum, comments, (5, index))


def _comments(file: FileDescriptorProto) -> Comments:
    """Those before each element; a file's own stands before its package."""
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def _service(service: ServiceDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### Service {service.name}\n"
    yield _prose(comments[path])
    for index, method in enumerate(service.method):
        yield _item(_signature(method), comments[*path, 2, index])
    yield ""


def _signature(method: MethodDescriptorProto) -> str:
    given, answer = _link(method.input_type), _link(method.output_type)
    given = f"stream of {given}" if method.client_streaming else given
    answer = f"stream of {answer}" if method.server_streaming else answer
    return f"**{method.name}**, {given} → {answer}"


def _message(message: DescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {message.name}\n"
    yield _prose(comments[path])
    for index, field in enumerate(message.field):
        is_choice = field.HasField("oneof_index") and not field.proto3_optional
        choice = f", one of `{message.oneof_decl[field.oneof_index].name}`" if is_choice else ""
        yield _item(f"`{field.name}` ({field.number}, {_type(field)}{choice})", comments[*path, 2, index])
    yield ""


def _type(field: FieldDescriptorProto) -> str:
    name = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    name = _link(field.type_name) if field.type_name else name
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"list of {name}"
    return f"optional {name}" if field.proto3_optional else name


def _enum(enum: EnumDescriptorProto, comments: Comments, path: tuple[int, ...]) -> Iterator[str]:
    yield f"### {enum.name}\n"
    yield _prose(comments[path])
    for index, value in enumerate(enum.value):
        yield _item(f"`{value.name}` ({value.number})", comments[*path, 2, index])
    yield ""


def _link(type_name: str) -> str:
    name = type_name.removeprefix(f".{PACKAGE}.")
    return f"[{name}](#{name.lower()})"


def _prose(comment: str) -> str:
    """A comment as paragraphs and lists; its lines are filled."""
    lines = [line.removeprefix(" ") for line in comment.splitlines()]
    blocks: list[str] = []
    for line in lines:
        begins = not line or line.startswith("- ") or not blocks or not blocks[-1]
        if begins:
            blocks.append(line)
        else:
            blocks[-1] += f" {line.strip()}"
    return "\n".join(_fill(block, "  " * block.startswith("- ")) for block in blocks) + "\n"


def _item(head: str, comment: str) -> str:
    return _fill(f"- {head}: {' '.join(comment.split())}", "  ")


def _fill(text: str, indent: str) -> str:
    return textwrap.fill(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )  # fmt: skip


def main() -> None:
    PAGE.write_text(reference(descriptors()), encoding="utf-8")


if __name__ == "__main__":
    main()
