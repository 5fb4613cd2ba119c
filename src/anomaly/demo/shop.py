"""The shop: five real HTTP services, a process each, instrumented with the OpenTelemetry SDK (metrics, spans, log lines).

    shopper ──► frontend ──► catalog ──► stock
       │            └──────► cart
       ├──► cart                ▲
       └──► payment ────────────┘        asks the cart for the total, then charges

The shopper's browser calls payment itself, as it does with a hosted payment page. Catalog and frontend wait for stock, so
a slow stock makes both slow; payment needs the cart, and fails with it. A bad version of the cart runs on one of its two
instances.

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


class Peer(NamedTuple):
    """A service that another asks; where it is `needed`, no answer from it is an error of the other."""

    name: str
    path: str
    needed: bool = False


class Service(NamedTuple):
    """What a service offers, whom it asks first, how long its own work takes (median, seconds), and its instances."""

    method: str
    route: str
    peers: tuple[Peer, ...]
    work: float
    instances: int = 1


SERVICES = {
    "stock": Service("GET", "/stock", (), 0.009),
    "catalog": Service("GET", "/products", (Peer("stock", "/stock"),), 0.012),
    "cart": Service("GET", "/cart", (), 0.008, instances=2),
    "payment": Service("POST", "/pay", (Peer("cart", "/cart", needed=True),), 0.022),
    "frontend": Service("GET", "/", (Peer("catalog", "/products"), Peer("cart", "/cart")), 0.006),
}
GOOD, BAD = "1.0.0", "2.0.0"  # versions
EMPTY = 0.6  # share of baskets that the bad version takes for empty


class Fault:
    """What is wrong with a service: its work takes `slower` times as long."""

    def __init__(self) -> None:
        self.slower = 1.0

    async def set(self, request: web.Request) -> web.Response:
        """The switch of whoever tells the story; not a part of the service that is measured."""
        self.slower = float((await request.json())["slower"])
        return web.Response()


def total(version: str, chance: random.Random) -> float:
    """The mean price of what is in a basket; the bad version loses what is in it, and divides by nothing."""
    prices = [chance.uniform(1.0, 90.0) for _ in range(3)]
    if version == BAD and chance.random() < EMPTY:
        prices.clear()
    return sum(prices) / len(prices)


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


def application(name: str, version: str, told: Telemetry, peers: dict[str, list[str]]) -> web.Application:
    """The service `name`; `peers` are the addresses of the instances of those it calls."""
    service, fault, chance = SERVICES[name], Fault(), random.Random(name)

    async def serve(request: web.Request) -> web.Response:
        session = request.app[CLIENT]
        asked = (ask(told, session, peer, chance.choice(peers[peer.name])) for peer in service.peers)
        answered = dict(zip(service.peers, await asyncio.gather(*asked), strict=True))
        if any(peer.needed and not answer for peer, answer in answered.items()):
            return web.json_response({"error": "a part is missing"}, status=502)
        await asyncio.sleep(service.work * chance.lognormvariate(0.0, SPREAD) * fault.slower)
        try:
            price = total(version, chance)
        except ArithmeticError:
            told.log.exception("no price for the basket")
            return web.json_response({"error": f"{name} failed"}, status=500)
        told.log.info("%s answered", request.path)
        return web.json_response({"service": name, "price": price})

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


async def ask(told: Telemetry, session: ClientSession, peer: Peer, url: str) -> bool:
    """Call a peer; whether it answered well. One that did not is done without where it can be."""
    with told.tracer.start_as_current_span(f"GET {peer.path}", kind=SpanKind.CLIENT) as span:
        headers: dict[str, str] = {}
        W3C.inject(headers)
        try:
            async with session.get(url + peer.path, headers=headers) as answer:
                await answer.read()
                good = answer.status < SERVER_ERROR
        except (ClientError, TimeoutError):
            good = False
        if not good:
            span.set_status(StatusCode.ERROR)
            told.log.warning("no answer from %s", peer.name)
        return good


async def run(name: str, instance: str, version: str, port: int, otlp: str, peers: dict[str, list[str]]) -> None:
    """Serve until standard input ends: whoever started us holds the other end, and is gone when it closes.

    The port may be that of the version before, which is ended when this one listens: no request finds the door shut.
    """
    with telemetry(name, instance, version, otlp) as told:
        runner = web.AppRunner(application(name, version, told, peers), access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_port=True).start()
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
    options.add_argument("--instance", default="1")
    options.add_argument("--version", default=GOOD)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--otlp", required=True)
    options.add_argument("--peer", action="append", default=[], help="name=address, once for each instance")
    given = options.parse_args()
    peers: dict[str, list[str]] = {}
    for peer in given.peer:
        name, _, address = peer.partition("=")
        peers.setdefault(name, []).append(address)
    instance = f"{given.name}-{given.instance}"
    asyncio.run(run(given.name, instance, given.version, given.port, given.otlp, peers))


if __name__ == "__main__":
    main()
