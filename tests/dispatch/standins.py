"""Receivers' ends of the wire: PagerDuty by its documented rules, and an endpoint that answers as it is told."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web
from aiohttp.test_utils import TestServer

from anomaly.dispatch.alert import Alert, Severity, What

KEY = "0123456789abcdef0123456789abcdef"


def alert(event: str = "trigger", key: str = "k", change: int = 1, severity: str = "critical", **more: Any) -> Alert:
    """An alert in a line."""
    told: dict[str, Any] = {
        "title": f"{key} {event}", "text": "text", "why": "why", "environment": "prod", "group": "checkout",
        "confidence": "high",
        "time": "2026-01-01T09:02:20Z", "started_at": "2026-01-01T09:02:10Z",
        "ended_at": "2026-01-01T09:03:10Z" if event == "resolve" else None,
    }  # fmt: skip
    named: dict[str, Any] = {"event": What(event), "severity": Severity(severity), "id": f"{key}{change}", "dedup_key": key}
    return Alert(**(told | named | more))


class Endpoint:
    """Takes requests and answers with the statuses of `answers` in turn, then with 200."""

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.append((dict(request.headers), await request.read()))
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, text=f"answer {status}", headers={"Location": "/elsewhere"})

    @property
    def bodies(self) -> list[Any]:
        return [orjson.loads(body) for _, body in self.requests]


class PagerDuty:
    """The Events API v2 as documented: required fields, limits, and what a `dedup_key` does."""

    def __init__(self, busy: int = 0) -> None:
        self.busy = busy  # how many requests are answered 429 first
        self.answers: list[int] = []
        self.refused: list[str] = []
        self.incidents: list[dict[str, Any]] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if self.busy > 0:
            self.busy -= 1
            return self.answer(429, "throttle exceeded")
        wrong = self.wrong(body)
        if wrong:
            self.refused.append(wrong)
            return self.answer(400, wrong)
        self.apply(orjson.loads(body))
        return self.answer(202, "Event processed")

    def answer(self, status: int, message: str) -> web.Response:
        self.answers.append(status)
        return web.json_response(
            {"status": "success" if status == 202 else "invalid event", "message": message}, status=status
        )

    def wrong(self, body: bytes) -> str:
        """The first rule that the event breaks."""
        if len(body) > 512_000:
            return "payload too large"
        event = orjson.loads(body)
        payload = event.get("payload", {})
        if event.get("routing_key") != KEY:
            return "invalid routing key"
        if event.get("event_action") not in ("trigger", "acknowledge", "resolve"):
            return "event_action"
        if len(event.get("dedup_key", "")) > 255 or (event["event_action"] != "trigger" and not event.get("dedup_key")):
            return "dedup_key"
        if event["event_action"] == "resolve":
            return ""
        if not payload.get("summary") or len(payload["summary"]) > 1024:
            return "payload.summary"
        if not payload.get("source"):
            return "payload.source"
        if payload.get("severity") not in ("critical", "error", "warning", "info"):
            return "payload.severity"
        datetime.fromisoformat(payload["timestamp"])
        return "links" if any(not link["href"].startswith("http") for link in event.get("links", [])) else ""

    def apply(self, event: dict[str, Any]) -> None:
        """A trigger opens an incident or adds to the open one; a resolve ends the open one, or nothing."""
        mine = [i for i in self.incidents if i["dedup_key"] == event["dedup_key"] and i["status"] == "triggered"]
        if event["event_action"] == "resolve":
            for incident in mine:
                incident["status"] = "resolved"
        elif mine:
            mine[0]["events"].append(event["payload"])
        else:
            self.incidents.append({"dedup_key": event["dedup_key"], "status": "triggered", "events": [event["payload"]]})


class Served:
    """A handler behind a real socket."""

    def __init__(self, handle: Callable[[web.Request], Awaitable[web.Response]]) -> None:
        app = web.Application(client_max_size=1 << 22)
        app.router.add_post("/{path:.*}", handle)
        self._server = TestServer(app)

    async def __aenter__(self) -> str:
        await self._server.start_server()
        return str(self._server.make_url("/hook"))

    async def __aexit__(self, *error: object) -> None:
        await self._server.close()
