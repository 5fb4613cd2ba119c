"""The protobuf messages of remote write 1.0, so far as we read them, from descriptors made here: no generated file.

Series and metadata stay bytes in their request, see `prometheus`. Source: names and numbers as in Prometheus' prompb.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from anomaly.decode.records import BadRecord

_PACKAGE = "anomaly.prometheus.v1"
_TYPES = {"double": 1, "int64": 3, "int32": 5, "string": 9, "bytes": 12}  # FieldDescriptorProto.Type

# Message -> (field, number, type, repeated). The enum of metadata types is an int32 on the wire.
_MESSAGES = {
    "Label": [("name", 1, "string", False), ("value", 2, "string", False)],
    "Sample": [("value", 1, "double", False), ("timestamp", 2, "int64", False)],
    "TimeSeries": [("labels", 1, "Label", True), ("samples", 2, "Sample", True), ("histograms", 4, "bytes", True)],
    "Metadata": [("type", 1, "int32", False), ("metric_family_name", 2, "string", False)],
    "WriteRequest": [("timeseries", 1, "bytes", True), ("metadata", 3, "bytes", True)],
}


def _schema() -> DescriptorPool:
    """The messages, in a pool of their own, so that no other user of these names clashes."""
    file = FileDescriptorProto(name="anomaly/prometheus.proto", package=_PACKAGE, syntax="proto3")
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in members:
            label = FieldDescriptorProto.LABEL_REPEATED if repeated else FieldDescriptorProto.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if kind in _TYPES:
                added.type = _TYPES[kind]  # type: ignore[assignment]
            else:
                added.type, added.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    pool = DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _schema()
WriteRequest, TimeSeries, Metadata = (
    GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in ("WriteRequest", "TimeSeries", "Metadata")
)


def message(kind: type[Any], value: bytes) -> Any:
    """A protobuf message of this kind."""
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise BadRecord("bad_protobuf", str(error)) from None
