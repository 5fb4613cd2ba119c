"""The shop: five real HTTP services, a process each, instrumented with the OpenTelemetry SDK (metrics, spans, log lines).

    shopper ──► frontend ──► catalog ──► stock
       │            └──────► cart
       ├──► cart                ▲
       └──► payment ────────────┘        asks the cart for the total, then charges

The shopper's browser calls payment itself, as it does with a hosted payment page. So nobody in the shop waits for
payment, and a slow payment has no victims upstream: here one fault is one group's incident.

Run one: `python -m anomaly.demo.shop payment --otlp URL --peer cart=URL`. It prints its port, and ends with its input.
"""

import argparse
import asyncio
import random
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import NamedTuple

from aiohttp import ClientError, ClientSession, ClientTimeout, web
from aiohttp.typedefs import Handler, Middleware
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from anomaly.demo.telemetry import Telemetry, telemetry

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # OpenTelemetry's advice, in s
DESCRIPTORS = Path("/proc/self/fd")
SERVER_ERROR = 500  # and above: the service's own fault
W3C = TraceContextTextMapPropagator()
SPREAD = 0.25  # of the logarithm of the work's duration


class Service(NamedTuple):
    """What a service offers, whom it asks first, and how long its own work takes (median, seconds)."""

    method: str
    route: str
    peers: tuple[tuple[str, str], ...]  # name, path
    work: float


SERVICES = {
    "stock": Service("GET", "/stock", (), 0.009),
    "catalog": Service("GET", "/products", (("stock", "/stock"),), 0.012),
    "cart": Service("GET", "/cart", (), 0.008),
    "payment": Service("POST", "/pay", (("cart", "/cart"),), 0.022),
    "frontend": Service("GET", "/", (("catalog", "/products"), ("cart", "/cart")), 0.006),
}


class Fault:
    """What is wrong with a service: work takes `slower` times as long, and a share of requests fails."""

    def __init__(self) -> None:
        self.slower, self.errors = 1.0, 0.0

    async def set(self, request: web.Request) -> web.Response:
        """The switch of whoever tells the story; not a part of the service that is measured."""
        wanted = await request.json()
        self.slower, self.errors = float(wanted["slower"]), float(wanted["errors"])
        return web.Response()


def metered(provider: MeterProvider, route: str) -> Middleware:
    """What HTTP server instrumentation does: duration and requests under way, by OpenTelemetry's conventions."""
    meter = provider.get_meter("shop")
    duration = meter.create_histogram(
        "http.server.request.duration", "s", "How long requests took.", explicit_bucket_boundaries_advisory=BOUNDS
    )
    active = meter.create_up_down_counter("http.server.active_requests", "{request}", "Requests under way.")

    @web.middleware
    async def measure(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != route:
            return await handler(request)
        method, began = {"http.request.method": request.method, "url.scheme": "http"}, time.perf_counter()
        active.add(1, method)
        try:
            response = await handler(request)
        finally:
            active.add(-1, method)
        labels = method | {"http.route": route, "http.response.status_code": response.status}
        duration.record(time.perf_counter() - began, labels)
        return response

    return measure


def traced(tracer: Tracer, route: str) -> Middleware:
    """A span for each request, below the caller's (W3C traceparent)."""

    @web.middleware
    async def span(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != route:
            return await handler(request)
        name, above = f"{request.method} {route}", W3C.extract(request.headers)
        with tracer.start_as_current_span(name, above, SpanKind.SERVER) as under_way:
            response = await handler(request)
            under_way.set_attribute("http.response.status_code", response.status)
            if response.status >= SERVER_ERROR:
                under_way.set_status(StatusCode.ERROR)
            return response

    return span


def observed(provider: MeterProvider) -> None:
    """Two gauges of the process itself."""
    meter = provider.get_meter("shop.process")

    def memory(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)

    def files(_: CallbackOptions) -> Iterable[Observation]:
        yield from [Observation(sum(1 for _ in DESCRIPTORS.iterdir()))] if DESCRIPTORS.is_dir() else []

    meter.create_observable_gauge("process.memory.usage", [memory], "By", "Most memory held so far.")
    meter.create_observable_gauge("process.open_file_descriptor.count", [files], "{file_descriptor}", "Open files.")


def application(name: str, told: Telemetry, peers: dict[str, str]) -> web.Application:
    """The service `name`; `peers` are the addresses of those it calls."""
    service, fault, chance = SERVICES[name], Fault(), random.Random(name)

    async def serve(request: web.Request) -> web.Response:
        asked = (ask(told, request.app[CLIENT], peer, peers[peer] + path) for peer, path in service.peers)
        await asyncio.gather(*asked)
        await asyncio.sleep(service.work * chance.lognormvariate(0.0, SPREAD) * fault.slower)
        if chance.random() < fault.errors:
            told.log.error("%s failed", request.path)
            return web.json_response({"error": f"{name} failed"}, status=500)
        told.log.info("%s answered", request.path)
        return web.json_response({"service": name})

    observed(told.metrics)
    shop = web.Application(middlewares=[metered(told.metrics, service.route), traced(told.tracer, service.route)])
    shop.router.add_route(service.method, service.route, serve)
    shop.router.add_post("/fault", fault.set)
    shop.cleanup_ctx.append(client)
    return shop


CLIENT = web.AppKey("client", ClientSession)


async def client(shop: web.Application) -> AsyncIterator[None]:
    """The connections to the peers."""
    async with ClientSession(timeout=ClientTimeout(total=5)) as session:
        shop[CLIENT] = session
        yield


async def ask(told: Telemetry, session: ClientSession, peer: str, url: str) -> None:
    """Call a peer; an answer that does not come is done without, as a shop window with a gap in it."""
    with told.tracer.start_as_current_span(f"GET {peer}", kind=SpanKind.CLIENT) as span:
        headers: dict[str, str] = {}
        W3C.inject(headers)
        try:
            async with session.get(url, headers=headers) as answer:
                await answer.read()
                span.set_attribute("http.response.status_code", answer.status)
        except (ClientError, TimeoutError):
            span.set_status(StatusCode.ERROR)
            told.log.warning("%s did not answer", peer)


async def run(name: str, otlp: str, peers: dict[str, str]) -> None:
    """Serve until standard input ends: whoever started us holds the other end, and is gone when it closes."""
    with telemetry(name, f"{name}-1", "1.0.0", otlp) as told:
        runner = web.AppRunner(application(name, told, peers), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        print(runner.addresses[0][1], flush=True)
        await left()
        await runner.cleanup()


async def left() -> None:
    """Until standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def main() -> None:
    """One service, from the command line."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("name", choices=sorted(SERVICES))
    options.add_argument("--otlp", required=True)
    options.add_argument("--peer", action="append", default=[], help="name=address")
    given = options.parse_args()
    asyncio.run(run(given.name, given.otlp, dict(peer.split("=", 1) for peer in given.peer)))


if __name__ == "__main__":
    main()
