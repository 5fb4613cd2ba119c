"""The protobuf messages of remote write 1.0, so far as we read them, from descriptors made here: no generated file.

Series, their histograms and metadata stay bytes in what holds them, see `prometheus`.
Source: names and numbers as in Prometheus' prompb.
"""

from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from anomaly.decode.descriptors import pool_of
from anomaly.decode.records import BadRecord

_PACKAGE = "anomaly.prometheus.v1"
# Message -> (field, number, type, repeated). The enum of metadata types is an int32 on the wire.
_MESSAGES = {
    "Label": [("name", 1, "string", False), ("value", 2, "string", False)],
    "Sample": [("value", 1, "double", False), ("timestamp", 2, "int64", False)],
    "TimeSeries": [("labels", 1, "Label", True), ("samples", 2, "Sample", True), ("histograms", 4, "bytes", True)],
    "Span": [("offset", 1, "sint32", False), ("length", 2, "uint32", False)],
    "Histogram": [
        ("count_int", 1, "uint64", False), ("count_float", 2, "double", False), ("sum", 3, "double", False),
        ("schema", 4, "sint32", False), ("zero_count_int", 6, "uint64", False), ("zero_count_float", 7, "double", False),
        ("negative_spans", 8, "Span", True), ("negative_deltas", 9, "sint64", True),
        ("negative_counts", 10, "double", True), ("positive_spans", 11, "Span", True),
        ("positive_deltas", 12, "sint64", True), ("positive_counts", 13, "double", True),
        ("reset_hint", 14, "int32", False), ("timestamp", 15, "int64", False), ("custom_values", 16, "double", True),
    ],
    "Metadata": [("type", 1, "int32", False), ("metric_family_name", 2, "string", False)],
    "WriteRequest": [("timeseries", 1, "bytes", True), ("metadata", 3, "bytes", True)],
}  # fmt: skip


_POOL = pool_of("anomaly/prometheus.proto", _PACKAGE, _MESSAGES)
WriteRequest, TimeSeries, Histogram, Metadata = (
    GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    for name in ("WriteRequest", "TimeSeries", "Histogram", "Metadata")
)


def message(kind: type[Any], value: bytes) -> Any:
    """A protobuf message of this kind."""
    try:
        return kind.FromString(value)
    except DecodeError as error:
        raise BadRecord("bad_protobuf", str(error)) from None
