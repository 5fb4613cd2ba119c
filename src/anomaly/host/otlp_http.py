"""OTLP over HTTP: metrics by POST /v1/metrics, in protobuf or JSON, plain or gzip, answered in the encoding of the request.

What a sender may conclude from the answer follows the OTLP specification 1.x, "OTLP/HTTP response": 200 is final, with a
partial success where points were set aside; 400, 413 and 415 say that another try is useless; 503 with Retry-After says
when to come again. The answer is given after the points were judged, not before.
"""

import zlib
from collections.abc import Iterable
from typing import Protocol

import orjson
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from anomaly.decode.records import DeadLetter
from anomaly.host import commands_http

PATH = "/v1/metrics"
PROTOBUF, JSON = "application/x-protobuf", "application/json"
ENCODINGS = {PROTOBUF: "otlp_proto", JSON: "otlp_json"}
GZIP = 31  # zlib's window bits for a gzip header and trailer
RETRY_AFTER = 1  # seconds; the queue holds less work than that
CODES = {400: 3, 413: 3, 415: 3, 503: 14}  # google.rpc.Code: INVALID_ARGUMENT, UNAVAILABLE


class Full(Exception):
    """The queue before the engine is full."""


class Inbox(Protocol):
    """What takes a request's body and says, once it was judged, what of it was set aside."""

    async def offer(self, encoding: str, body: bytes) -> list[DeadLetter]:
        """Raises Full if there is no room now."""


def receiver(inbox: Inbox, limit: int, commanded: commands_http.Commanded | None = None) -> web.Application:
    """The application; a body may have `limit` bytes, packed and unpacked. Commands go to `commanded`."""

    async def metrics(request: web.Request) -> web.Response:
        encoding = ENCODINGS.get(request.content_type)
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
    application.router.add_post(PATH, metrics)
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
    """200, with how many points were set aside and why."""
    response, why = ExportMetricsServiceResponse(), []
    for letter in dead:
        response.partial_success.rejected_data_points += letter.points
        why.append(f"{letter.reason}: {letter.points}")
    rejected, message = response.partial_success.rejected_data_points, ", ".join(why)
    if request.content_type == JSON:
        partial = {"partialSuccess": {"rejectedDataPoints": str(rejected), "errorMessage": message}}
        return web.Response(body=orjson.dumps(partial if why else {}), content_type=JSON)
    if why:
        response.partial_success.error_message = message
    return web.Response(body=response.SerializeToString(), content_type=PROTOBUF)


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
