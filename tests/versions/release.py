"""Releases of the protocol as descriptors, with messages made from them: those of then, of now, and of a time to come.

``579c17f.binpb`` holds the ``.proto`` files of that commit, as ``protoc --include_imports --descriptor_set_out`` writes
them, and so do the others. The newest is what ``make lint`` compares the present files with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass, GetMessageClassesForFiles
from gossipcontrol.v1 import attach_pb2, decision_pb2, gossip_control_pb2, liveness_pb2, peer_knowledge_pb2

SERVICES = ("gossipcontrol.v1.GossipControl", "gossipcontrol.v1.PeerKnowledge")
ADDED = 77
"""Number of the value that the newer release has in every enumeration."""
FIELD, FRAME = 777, 778
"""Numbers of the field that it has in every message, and of the one that it has in every oneof."""


@dataclass(frozen=True)
class Release:
    """The messages and calls of one release."""

    name: str
    pool: DescriptorPool
    classes: Mapping[str, Any]
    """By name. A message that comes with another needs its class made before."""

    def message(self, name: str, **fields: Any) -> Any:
        """A message of this release."""
        return self.classes[f"gossipcontrol.v1.{name}"](**fields)

    def reader(self, name: str) -> Any:
        """What makes such a message from bytes."""
        return self.classes[f"gossipcontrol.v1.{name}"].FromString

    def methods(self) -> Iterator[MethodDescriptor]:
        """Every call."""
        for service in SERVICES:
            yield from self.pool.FindServiceByName(service).methods

    def method(self, name: str) -> MethodDescriptor:
        """One call."""
        return next(one for one in self.methods() if one.name == name)


def to_bytes(message: Any) -> bytes:
    """A message as it is sent."""
    data: bytes = message.SerializeToString()
    return data


OLDER = ("579c17f", "7e60038")
"""The releases that are kept, the oldest first."""


def release(name: str) -> Release:
    """One of ``OLDER``, ``present``, or ``newer``: the present one with an addition everywhere."""
    files = _written(name) if name in OLDER else _present()
    if name == "newer":
        for file in files.file:
            for enum in file.enum_type:
                _add_value(enum)
            for message in file.message_type:
                _add_fields(message)
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    classes = GetMessageClassesForFiles([file.name for file in files.file], pool)
    return Release(name, pool, classes)


def _written(name: str) -> FileDescriptorSet:
    return FileDescriptorSet.FromString((Path(__file__).parent / f"{name}.binpb").read_bytes())


def _present() -> FileDescriptorSet:
    files = FileDescriptorSet()
    for module in (decision_pb2, liveness_pb2, peer_knowledge_pb2, attach_pb2, gossip_control_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    return files


def _add_value(enum: EnumDescriptorProto) -> None:
    enum.value.add(name=f"{enum.name.upper()}_ADDED", number=ADDED)


def _add_fields(message: DescriptorProto) -> None:
    string, single = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.LABEL_OPTIONAL
    synthetic = {field.oneof_index for field in message.field if field.proto3_optional}
    message.field.add(name="newer_field", number=FIELD, type=string, label=single)
    for index, oneof in enumerate(message.oneof_decl):
        if index not in synthetic:
            message.field.add(name=f"newer_{oneof.name}", number=FRAME, type=string, label=single, oneof_index=index)
    for nested in message.nested_type:
        _add_fields(nested)


def enum_fields(kind: Descriptor, path: str = "") -> Iterator[str]:
    """The paths of every enumeration in a message."""
    for field in kind.fields:
        here = f"{path}.{field.name}" if path else field.name
        if field.enum_type is not None:
            yield here
        elif field.message_type is not None:
            yield from enum_fields(field.message_type, here)


def filled(kind: Descriptor) -> Any:
    """A message with every field given: each enumeration has its highest number, and there is no further page.

    Of a oneof nothing is given.
    """
    message = GetMessageClass(kind)()
    for field in kind.fields:
        oneof = field.containing_oneof
        is_choice = oneof is not None and len(oneof.fields) > 1
        if field.name == "next_page_token" or is_choice:
            continue
        is_list = isinstance(getattr(message, field.name), MutableSequence)
        if field.message_type is not None:
            given = filled(field.message_type)
            getattr(message, field.name).append(given) if is_list else getattr(message, field.name).CopyFrom(given)
        else:
            value = _value(field)
            getattr(message, field.name).append(value) if is_list else setattr(message, field.name, value)
    return message


def _value(field: FieldDescriptor) -> Any:
    if field.enum_type is not None:
        return max(value.number for value in field.enum_type.values)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return b"x" if field.type == FieldDescriptor.TYPE_BYTES else "x"
    return True if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else 1
