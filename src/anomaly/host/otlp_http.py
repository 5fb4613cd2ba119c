"""OTLP over HTTP: metrics by POST /v1/metrics, spans by /v1/traces, logs by /v1/logs, in protobuf or JSON, plain or gzip,
answered in the encoding of the request. Beside it change events by POST /v1/changes, as JSON (`decode.changes`).

What a sender may conclude from the answer follows the OTLP specification 1.x, "OTLP/HTTP response": 200 is final, with a
partial success where points were set aside; 400, 413 and 415 say that another try is useless; 503 with Retry-After says
when to come again. The answer is given after the points were judged, not before.
"""

import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

import orjson
from aiohttp import web
from google.protobuf.json_format import ParseDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from anomaly.decode import changes
from anomaly.decode.records import DeadLetter
from anomaly.host import commands_http

PATH = "/v1/metrics"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
GZIP = 31  # zlib's window bits for a gzip header and trailer
RETRY_AFTER = 1  # seconds; the queue holds less work than that
CODES = {400: 3, 413: 3, 415: 3, 503: 14}  # google.rpc.Code: INVALID_ARGUMENT, UNAVAILABLE


class Signal(NamedTuple):
    """What is posted to a path: the encodings of its bodies, the answer, and what that calls the things set aside."""

    encodings: dict[str, str]
    response: type[Any]
    rejected: str


SIGNALS = {
    PATH: Signal({PROTOBUF: "otlp_proto", JSON: "otlp_json"}, ExportMetricsServiceResponse, "rejectedDataPoints"),
    "/v1/traces": Signal(
        {PROTOBUF: "otlp_spans_proto", JSON: "otlp_spans_json"}, ExportTraceServiceResponse, "rejectedSpans"
    ),
    "/v1/logs": Signal(
        {PROTOBUF: "otlp_logs_proto", JSON: "otlp_logs_json"}, ExportLogsServiceResponse, "rejectedLogRecords"
    ),
    "/v1/changes": Signal({JSON: changes.ENCODING}, ExportLogsServiceResponse, "rejectedChanges"),  # not OTLP's; JSON only
}


class Full(Exception):
    """The queue before the engine is full."""


class Inbox(Protocol):
    """What takes a request's body and says, once it was judged, what of it was set aside."""

    async def offer(self, encoding: str, body: bytes) -> list[DeadLetter]:
        """Raises Full if there is no room now."""


def receiver(inbox: Inbox, limit: int, commanded: commands_http.Commanded | None = None) -> web.Application:
    """The application; a body may have `limit` bytes, packed and unpacked. Commands go to `commanded`."""

    async def export(request: web.Request) -> web.Response:
        encoding = SIGNALS[request.path].encodings.get(request.content_type)
        if encoding is None:
            return refusal(request, 415, f"send {PROTOBUF} or {JSON}, not {request.content_type}")
        try:
            body = unpacked(await request.read(), request.headers.get("Content-Encoding", "identity"), limit)
            dead = await inbox.offer(encoding, body)
        except web.HTTPRequestEntityTooLarge:
            return refusal(request, 413, f"more than {limit} bytes")
        except Refused as refused:
            return refusal(request, refused.status, str(refused))
        except Full:
            return refusal(request, 503, "the queue is full")
        whole = next((letter for letter in dead if not letter.points), None)
        if whole:
            return refusal(request, 413 if whole.reason == "too_large" else 400, f"{whole.reason} {whole.detail}".strip())
        return accepted(request, dead)

    application = web.Application(client_max_size=limit)
    for path in SIGNALS:
        application.router.add_post(path, export)
    if commanded is not None:
        commands_http.add_to(application, commanded)
    return application


async def serve(
    inbox: Inbox, listen: str, limit: int, commanded: commands_http.Commanded | None = None
) -> tuple[web.AppRunner, int]:
    """Start the receiver on `host:port`; the port is the one it got where 0 was asked for. `cleanup()` stops it."""
    runner = web.AppRunner(
        receiver(inbox, limit, commanded), access_log=None, auto_decompress=False
    )  # unpacking is ours: bounded
    await runner.setup()
    host, _, port = listen.rpartition(":")
    await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
    return runner, int(runner.addresses[0][1])


class Refused(Exception):
    """A body that cannot be unpacked, with the status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """The body without its content encoding; never more than `limit` bytes of it are unpacked."""
    if coding.strip().lower() in ("", "identity"):
        return body
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        raise Refused(415, f"content encoding {coding[:40]!r} is not gzip")
    inflate = zlib.decompressobj(GZIP)
    try:
        plain = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refused(400, "the gzip body is broken") from error
    if len(plain) > limit:
        raise Refused(413, f"more than {limit} bytes unpacked")
    if not inflate.eof or inflate.unused_data:
        raise Refused(400, "the gzip body is cut short or followed by something else")
    return plain


def accepted(request: web.Request, dead: Iterable[DeadLetter]) -> web.Response:
    """200, with how many points or spans were set aside and why."""
    signal, letters = SIGNALS[request.path], list(dead)
    rejected = str(sum(letter.points for letter in letters))
    message = ", ".join(f"{letter.reason}: {letter.points}" for letter in letters)
    said = {"partialSuccess": {signal.rejected: rejected, "errorMessage": message}} if letters else {}
    if request.content_type == JSON:
        return web.Response(body=orjson.dumps(said), content_type=JSON)
    body = ParseDict(said, signal.response()).SerializeToString()
    return web.Response(body=body, content_type=PROTOBUF)


def refusal(request: web.Request, status: int, message: str) -> web.Response:
    """An answer other than 200: a google.rpc.Status that says why."""
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    if request.content_type == PROTOBUF:
        return web.Response(status=status, headers=headers, body=rpc_status(CODES[status], message), content_type=PROTOBUF)
    said = orjson.dumps({"code": CODES[status], "message": message})
    return web.Response(status=status, headers=headers, body=said, content_type=JSON)


def rpc_status(code: int, message: str) -> bytes:
    """google.rpc.Status on the wire, by hand: fields 1 (code, varint) and 2 (message), both lengths in one byte."""
    text = message.encode()[:127]
    text = text.decode(errors="ignore").encode()
    return bytes([0x08, code, 0x12, len(text)]) + text
