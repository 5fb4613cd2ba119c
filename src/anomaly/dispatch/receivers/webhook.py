"""Any HTTP endpoint: the alert as JSON by POST. Its id is the idempotency key: a repetition can be told from news."""

from collections.abc import Mapping
from pathlib import Path

import aiohttp

from anomaly.config.settings import Webhook
from anomaly.dispatch.alert import Alert, encode
from anomaly.dispatch.receivers.answer import Request, Sent, post


def request(alert: Alert, url: str, headers: Mapping[str, str]) -> Request:
    """The alert as it is on the topic."""
    return Request(url, encode(alert), {"Idempotency-Key": alert.id, **headers})


def headers_of(text: str) -> dict[str, str]:
    """`Name: value` lines; empty ones and those that begin with # are passed over."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs}


class WebhookReceiver:
    """One endpoint."""

    pace = 0.0

    def __init__(self, settings: Webhook) -> None:
        self._url = settings.url
        file = settings.headers_file
        self._headers = headers_of(Path(file).read_text(encoding="utf-8")) if file else {}

    async def send(self, session: aiohttp.ClientSession, alert: Alert) -> Sent:
        """One request."""
        return await post(session, request(alert, self._url, self._headers))
