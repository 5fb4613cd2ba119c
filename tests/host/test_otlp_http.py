"""The OTLP receiver, as a sender sees it: what it answers, in which encoding, and what it lets through to the engine."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import ClientSession
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from anomaly.decode.records import DeadLetter
from anomaly.host.otlp_http import JSON, PROTOBUF, Full, rpc_status, serve

LIMIT = 100_000
BODY = ExportMetricsServiceRequest(resource_metrics=[{}]).SerializeToString()


class Inbox:
    """Takes what comes; answers with `dead`, or is full."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []
        self.dead: list[DeadLetter] = []
        self.full = False

    async def offer(self, encoding: str, body: bytes) -> list[DeadLetter]:
        if self.full:
            raise Full
        self.taken.append((encoding, body))
        return self.dead


Send = Callable[..., Awaitable[tuple[int, dict[str, str], bytes]]]


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
async def post(inbox: Inbox) -> AsyncIterator[Send]:
    runner, port = await serve(inbox, "127.0.0.1:0", LIMIT)

    async def send(
        body: bytes, content_type: str = PROTOBUF, path: str = "/v1/metrics", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        url = f"http://127.0.0.1:{port}{path}"
        headers = {k.replace("_", "-"): v for k, v in headers.items()} | {"Content-Type": content_type}
        async with ClientSession() as session, session.post(url, data=body, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.read()

    yield send
    await runner.cleanup()


def letter(reason: str, points: int = 0) -> DeadLetter:
    return DeadLetter("otlp", 0, 0, 0, reason, "", b"", points)


async def test_protobuf_is_answered_in_protobuf_and_reaches_the_engine_as_it_came(post: Send, inbox: Inbox):
    status, headers, body = await post(BODY)
    assert (status, headers["Content-Type"]) == (200, PROTOBUF)
    assert not ExportMetricsServiceResponse.FromString(body).HasField("partial_success")
    assert inbox.taken == [("otlp_proto", BODY)]


async def test_json_is_answered_in_json(post: Send, inbox: Inbox):
    status, headers, body = await post(b'{"resourceMetrics":[]}', "application/json; charset=utf-8")
    assert (status, headers["Content-Type"].split(";")[0], json.loads(body)) == (200, JSON, {})
    assert inbox.taken == [("otlp_json", b'{"resourceMetrics":[]}')]


@pytest.mark.parametrize(("content_type", "encoding"), [(PROTOBUF, "otlp_spans_proto"), (JSON, "otlp_spans_json")])
async def test_traces_have_a_path_of_their_own_and_their_own_answer(
    post: Send, inbox: Inbox, content_type: str, encoding: str
):
    inbox.dead = [letter("bad_timestamp", 2)]
    status, _, body = await post(BODY, content_type, path="/v1/traces")
    if content_type == JSON:
        rejected = int(json.loads(body)["partialSuccess"]["rejectedSpans"])
    else:
        rejected = ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans
    assert (status, rejected, inbox.taken) == (200, 2, [(encoding, BODY)])


async def test_a_gzip_body_is_unpacked(post: Send, inbox: Inbox):
    status, _, _ = await post(gzip.compress(BODY), Content_Encoding="gzip")
    assert (status, inbox.taken) == (200, [("otlp_proto", BODY)])


@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
async def test_points_set_aside_are_a_partial_success_with_their_number_and_reason(
    post: Send, inbox: Inbox, content_type: str
):
    inbox.dead = [letter("future_timestamp", 2), letter("bad_timestamp", 1)]
    status, _, body = await post(b"{}", content_type)
    if content_type == JSON:
        said = json.loads(body)["partialSuccess"]
        rejected, why = int(said["rejectedDataPoints"]), said["errorMessage"]
    else:
        partial = ExportMetricsServiceResponse.FromString(body).partial_success
        rejected, why = partial.rejected_data_points, partial.error_message
    assert (status, rejected) == (200, 3)
    assert "future_timestamp" in why
    assert "bad_timestamp" in why


@pytest.mark.parametrize(("reason", "expected"), [("truncated", 400), ("malformed", 400), ("too_large", 413)])
async def test_a_body_that_cannot_be_decoded_is_refused_for_good(post: Send, inbox: Inbox, reason: str, expected: int):
    inbox.dead = [letter(reason)]
    status, _, body = await post(b"\xff")
    assert status == expected
    assert reason.encode() in body


@pytest.mark.parametrize(
    ("body", "headers", "expected"),
    [
        (b"x", {"content_type": "text/plain"}, 415),
        (b"x", {"Content_Encoding": "br"}, 415),
        (b"not gzip", {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(BODY, mtime=0)[:-3], {"Content_Encoding": "gzip"}, 400),
        (gzip.compress(BODY, mtime=0) + b"more", {"Content_Encoding": "gzip"}, 400),
        (b"x" * (LIMIT + 1), {}, 413),
        (gzip.compress(bytes(LIMIT + 1), mtime=0), {"Content_Encoding": "gzip"}, 413),
    ],
)
async def test_what_cannot_be_read_is_refused_and_never_reaches_the_engine(
    post: Send, inbox: Inbox, body: bytes, headers: dict[str, str], expected: int
):
    status, answered, _ = await post(body, **headers)
    assert (status, "Retry-After" in answered, inbox.taken) == (expected, False, [])


async def test_a_bomb_is_refused_without_being_unpacked(post: Send, inbox: Inbox):
    packer = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(64)) + packer.flush()
    assert len(bomb) < LIMIT
    status, _, _ = await post(bomb, Content_Encoding="gzip")
    assert (status, inbox.taken) == (413, [])


async def test_a_full_queue_tells_the_sender_when_to_come_again(post: Send, inbox: Inbox):
    inbox.full = True
    status, headers, _ = await post(BODY)
    assert (status, int(headers["Retry-After"]) >= 1) == (503, True)


def test_a_refusal_in_protobuf_is_a_google_rpc_status():
    """Checked against the fields of google.rpc.Status as another message of the same shape reads them."""
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    said = status_pb2.Status.FromString(rpc_status(3, "é" * 100))
    assert (said.code, said.message) == (3, "é" * 63)


async def test_logs_have_a_path_of_their_own_and_their_own_answer(post: Send, inbox: Inbox):
    inbox.dead = [letter("bad_timestamp", points=3)]

    _, _, as_json = await post(b"{}", JSON, path="/v1/logs")
    _, _, as_protobuf = await post(b"", path="/v1/logs")

    assert [encoding for encoding, _ in inbox.taken] == ["otlp_logs_json", "otlp_logs_proto"]
    assert json.loads(as_json)["partialSuccess"]["rejectedLogRecords"] == "3"
    assert ExportLogsServiceResponse.FromString(as_protobuf).partial_success.rejected_log_records == 3


async def test_changes_are_taken_as_json_only(post: Send, inbox: Inbox):
    assert (await post(b'{"what": "x"}', JSON, "/v1/changes"))[0] == 200
    assert inbox.taken == [("change_json", b'{"what": "x"}')]
    assert (await post(b"", PROTOBUF, "/v1/changes"))[0] == 415
