"""Telemetry as the OpenTelemetry SDK makes it, at any time we like: a shop of three services, one of which may be ill."""

import random
from collections.abc import Iterator

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

NAMES = ("web", "checkout", "payment")
BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]


class Service:
    """A service that serves about forty requests a second."""

    def __init__(self, name: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.reader = InMemoryMetricReader()
        labels = {"service.name": name, "service.namespace": "shop", "deployment.environment.name": "prod"}
        self.provider = MeterProvider([self.reader], Resource.create(labels | {"service.instance.id": f"{name}-1"}))
        self.duration = self.provider.get_meter("shop").create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=BOUNDS
        )

    def second(self, ill: bool) -> None:
        """A second of requests; an ill service is ten times as slow, and a third of its answers are errors."""
        for _ in range(self.random.randint(35, 45)):
            took = self.random.lognormvariate(-3.2, 0.3) * (10 if ill else 1)
            status = 500 if self.random.random() < (0.33 if ill else 0.002) else 200
            self.duration.record(
                took, {"http.request.method": "GET", "http.route": "/", "http.response.status_code": status}
            )

    def collected(self, begin: int, now: int) -> bytes:
        """What the SDK exports, as if it had begun at `begin` and it were `now` (seconds since the epoch)."""
        request = encode_metrics(self.reader.get_metrics_data())
        for metric in request.resource_metrics[0].scope_metrics[0].metrics:
            for point in metric.histogram.data_points:
                point.start_time_unix_nano, point.time_unix_nano = begin * 10**9, now * 10**9
                del point.exemplars[:]
        return bytes(request.SerializeToString())


def telemetry(begin: int, seconds: int, ill_from: int, ill_until: int) -> Iterator[tuple[int, str, bytes]]:
    """(time in ms, service, request) for each second and service; `payment` is ill in [ill_from, ill_until)."""
    services = {name: Service(name, i) for i, name in enumerate(NAMES)}
    for second in range(seconds):
        for name, service in services.items():
            service.second(name == "payment" and ill_from <= second < ill_until)
            yield (begin + second) * 1000, name, service.collected(begin - 1, begin + second)
