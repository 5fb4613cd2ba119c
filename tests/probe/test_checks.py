"""Checks against real servers on this machine: what is told when they answer, and when they do not."""

import asyncio
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from anomaly.cli import main
from anomaly.config.load import load
from anomaly.config.probes import Check, Dns, Http, Probes, Tcp, Tls
from anomaly.config.settings import Settings
from anomaly.host.probe_command import to_url
from anomaly.probe.dns import read
from anomaly.probe.report import request
from anomaly.probe.result import Failed
from anomaly.probe.runner import made, wait
from anomaly.probe.tls import EXPIRY, LEFT

DAY = 86_400


def check(**kind: Http | Tcp | Dns | Tls) -> Check:
    return Check(name="c", service="shop", timeout=5.0, **kind)  # type: ignore[arg-type]


@asynccontextmanager
async def site() -> AsyncIterator[str]:
    """A web site; its URL without a slash at the end."""

    async def ok(request: web.Request) -> web.Response:
        return web.Response(text=f"all {request.headers.get('X-Who', 'well')}")

    async def ill(request: web.Request) -> web.Response:
        return web.Response(status=503)

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound("/ok")

    async def slow(request: web.Request) -> web.Response:
        await asyncio.sleep(3600)
        return web.Response()

    application = web.Application()
    for path, handler in {"/ok": ok, "/ill": ill, "/moved": moved, "/slow": slow}.items():
        application.router.add_get(path, handler)
    async with TestServer(application) as server:
        yield str(server.make_url("")).rstrip("/")


async def test_http_looks_at_status_body_redirects_and_headers():
    async with site() as url:
        asked = [
            (Http(url=f"{url}/ok", body="all w.ll"), "", 200),
            (Http(url=f"{url}/ok", headers={"X-Who": "me"}, body="^all me$"), "", 200),
            (Http(url=f"{url}/ok", body="nobody"), "the body has nothing that fits nobody", 200),
            (Http(url=f"{url}/ill"), "status 503, not 2xx", 503),
            (Http(url=f"{url}/ill", status=("2xx", "503")), "", 503),
            (Http(url=f"{url}/moved"), "", 200),
            (Http(url=f"{url}/moved", redirects=False), "status 302, not 2xx", 302),
        ]
        for what, why, status in asked:
            result = await made(check(http=what))
            assert (result.why, result.facts["probe_http_status_code"]) == (why, status)
        assert "more than 0 s" in (await made(check(http=Http(url=f"{url}/ok", slowest=0.0)))).why


async def test_who_does_not_answer_in_time_fails_with_the_time_out():
    async with site() as url:
        hurried = Check(name="c", service="shop", timeout=0.1, http=Http(url=f"{url}/slow"))
        assert (await made(hurried)).why == "no answer within 0.1 s"


async def test_tcp_connects_says_and_expects_and_a_closed_port_fails():
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello " + await reader.read(100))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        assert (await made(check(tcp=Tcp(address=address)))).why == ""
        assert (await made(check(tcp=Tcp(address=address, send="you", expect="hello you")))).why == ""
        assert "nothing that fits PONG" in (await made(check(tcp=Tcp(address=address, send="you", expect="PONG")))).why
    with socket.socket() as bound:  # a port that nobody listens on
        bound.bind(("127.0.0.1", 0))
        closed = await made(check(tcp=Tcp(address=f"127.0.0.1:{bound.getsockname()[1]}")))
    assert closed.why.startswith("ConnectionRefusedError")


class Names(asyncio.DatagramProtocol):
    """Knows one name; the answer points back to the question, as real servers write it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        known = b"\x04shop\x04test\x00" in data
        head = data[:2] + struct.pack(">5H", 0x8180 if known else 0x8183, 1, int(known), 0, 0)
        answer = struct.pack(">3HIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 7]) if known else b""
        self.transport.sendto(head + data[12:] + answer, addr)  # type: ignore[attr-defined]


async def test_dns_looks_at_the_answer_and_its_code():
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    server = "127.0.0.1:{}".format(transport.get_extra_info("sockname")[1])
    try:
        asked = [
            (Dns(server=server, name="shop.test", answer=r"^192\.0\.2\.7$"), ""),
            (Dns(server=server, name="shop.test", answer="^10"), "answered 192.0.2.7: none fits ^10"),
            (Dns(server=server, name="no.test"), "answered NXDOMAIN, not NOERROR"),
            (Dns(server=server, name="no.test", rcode="NXDOMAIN"), ""),
        ]
        for what, why in asked:
            assert (await made(check(dns=what))).why == why
    finally:
        transport.close()


@pytest.mark.parametrize("cut", range(12, 45))
def test_an_answer_cut_short_is_a_failed_check(cut: int):
    whole = struct.pack(">6H", 1, 0x8180, 1, 1, 0, 0) + b"\x04shop\x04test\x00" + struct.pack(">2H", 1, 1)
    whole += struct.pack(">3HIH", 0xC00C, 1, 1, 60, 4) + bytes([192, 0, 2, 7])
    assert read(whole, 1) == (0, ["192.0.2.7"])
    with pytest.raises(Failed):
        read(whole[: min(cut, len(whole) - 1)], 1)


def certificate(folder: Path, days: int) -> ssl.SSLContext:
    """A server's, made by openssl, of its own authority, valid from now for so many days."""
    key, own = folder / f"{days}.key", folder / f"{days}.pem"
    options = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=x -addext subjectAltName=DNS:localhost"
    files = ["-days", str(days), "-keyout", str(key), "-out", str(own)]
    subprocess.run(["openssl", "req", "-x509", *options.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, key)
    return context


async def test_a_certificate_fails_before_it_ends_and_where_nobody_vouches_for_it(tmp_path: Path):
    for days, ca, why in ((30, True, ""), (30, False, "the certificate is not believed"), (2, True, "the certificate ends")):
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=certificate(tmp_path, days))
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server:
            own = str(tmp_path / f"{days}.pem") if ca else None
            result = await made(check(tls=Tls(address=address, server_name="localhost", ca=own)))
        assert result.why.startswith(why)
        assert bool(result.why) == bool(why)
        assert result.facts[LEFT] == pytest.approx(days, abs=0.01)
        assert result.facts[EXPIRY] == pytest.approx(time.time() + days * DAY, abs=600)


async def test_results_arrive_by_otlp_under_the_names_that_everybody_knows():
    bodies = list[bytes]()

    async def take(request: web.Request) -> web.Response:
        bodies.append(await request.read())
        return web.Response()

    application = web.Application()
    application.router.add_post("/v1/metrics", take)
    async with TestServer(application) as server, site() as url:
        probes = Probes(environment="prod", region="eu", url=str(server.make_url("/v1/metrics")))
        ill = check(http=Http(url=f"{url}/ill"))
        async with to_url(Settings(probes=probes)) as sent:
            await sent("shop", request(probes, ill, await made(ill)))
    resource = ExportMetricsServiceRequest.FromString(bodies[0]).resource_metrics[0]
    assert {a.key: a.value.string_value for a in resource.resource.attributes} == {
        "service.name": "shop", "deployment.environment.name": "prod",
    }  # fmt: skip
    points = {m.name: m.gauge.data_points[0] for m in resource.scope_metrics[0].metrics}
    assert points["probe_success"].as_double == 0.0
    assert points["probe_http_status_code"].as_double == 503.0
    assert points["probe_duration_seconds"].as_double > 0.0
    labels = {a.key: a.value.string_value for a in points["probe_success"].attributes}
    assert labels == {"probe": "c", "kind": "http", "region": "eu"}


def test_checks_are_due_at_times_that_a_restart_does_not_change_and_not_all_at_once():
    checks = [Check(name=f"c{i}", service="s", every=30.0) for i in range(50)]
    due = [(1000.0 + wait(c, 1000.0)) % 30.0 for c in checks]
    assert len({round(d) for d in due}) > 15
    for c, d in zip(checks, due, strict=True):
        assert (2345.6 + wait(c, 2345.6)) % 30.0 == pytest.approx(d)


def test_once_prints_a_table_and_exits_1_if_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with socket.socket() as listening, socket.socket() as bound:
        for s in (listening, bound):
            s.bind(("127.0.0.1", 0))
        listening.listen()
        good, closed = (s.getsockname()[1] for s in (listening, bound))
        lines = [
            f"    - {{name: c{p}, service: shop, every: 1m, tcp: {{address: '127.0.0.1:{p}'}}}}" for p in (good, closed)
        ]
        path = tmp_path / "p.yaml"
        path.write_text("\n".join(["probes:", "  checks:", *lines]))
        assert load(path, {}).probes.checks[0].every == 60.0
        assert main(["probe", str(path), "--once"]) == 1
        said = capsys.readouterr().out
        assert [line.split()[3] for line in said.splitlines()[1:]] == ["ok", "failed"]
        path.write_text("\n".join(["probes:", "  checks:", lines[0]]))
        assert main(["probe", str(path), "--once"]) == 0
