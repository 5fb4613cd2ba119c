"""Protobuf messages from descriptors that are made here: no generated file, and of each only what is read."""

from collections.abc import Mapping, Sequence

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

# FieldDescriptorProto.Type
_TYPES = {
    "double": 1,
    "int64": 3,
    "uint64": 4,
    "int32": 5,
    "bool": 8,
    "string": 9,
    "bytes": 12,
    "uint32": 13,
    "sint32": 17,
    "sint64": 18,
}

Fields = Sequence[tuple[str, int, str, bool]]  # name, number, type or message of the same package, repeated


def pool_of(name: str, package: str, messages: Mapping[str, Fields]) -> DescriptorPool:
    """The messages of a file, in a pool of their own, so that no other user of these names clashes."""
    file = FileDescriptorProto(name=name, package=package, syntax="proto3")
    for called, members in messages.items():
        message = file.message_type.add(name=called)
        for field, number, kind, repeated in members:
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in _TYPES:
                added.type = _TYPES[kind]  # type: ignore[assignment]
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{package}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool
