"""Commands over HTTP, for the host without Kafka: POST /commands takes one as JSON, GET /commands shows what is known.

Beside the OTLP receiver, and open to whoever reaches that. Only what says that it is JSON is taken, which no page in
somebody's browser can send without asking.
"""

from typing import Protocol

import msgspec
from aiohttp import web

from anomaly.command.command import LARGEST, BadCommand, Command, read
from anomaly.host.command_sending import JSON, PATH


class Commanded(Protocol):
    """Whoever follows commands."""

    async def command(self, command: Command) -> None:
        """Follow it from now on."""

    def commands(self) -> list[Command]:
        """Those that are known."""


def add_to(application: web.Application, commanded: Commanded) -> None:
    """Let an application take commands."""

    async def post(request: web.Request) -> web.Response:
        if request.content_type != JSON:
            return web.Response(status=415, text=f"send {JSON}")
        body = await request.content.read(LARGEST + 1)
        try:
            await commanded.command(read(body))
        except BadCommand as error:
            return web.Response(status=400, text=str(error))
        return web.json_response({})

    async def get(request: web.Request) -> web.Response:
        del request
        return web.Response(body=msgspec.json.encode(commanded.commands()), content_type=JSON)

    application.router.add_post(PATH, post)
    application.router.add_get(PATH, get)
