"""What the shop says of itself: metrics every second, spans and log lines as they come, by the OpenTelemetry SDK.

Everything goes to one host's OTLP/HTTP paths. Log lines are those of Python's `logging`, each with its file and line and
the span that is under way.
"""

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

NAMESPACE, ENVIRONMENT = "shop", "demo"
EVERY = 1000  # ms between exports
LAST = 500  # ms that the last export may take
SEVERITY = {
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
}


class Telemetry(NamedTuple):
    """Where a service says what it does."""

    metrics: MeterProvider
    tracer: trace.Tracer
    log: logging.Logger


@contextmanager
def telemetry(name: str, instance: str, version: str, otlp: str) -> Iterator[Telemetry]:
    """The SDK for one instance, exporting in protobuf and gzip to `otlp`, the address before `/v1/…`."""
    resource = Resource.create(
        {
            "service.namespace": NAMESPACE,
            "service.name": name,
            "service.instance.id": instance,
            "service.version": version,
            "deployment.environment.name": ENVIRONMENT,
        }
    )
    packed = Compression.Gzip
    points = OTLPMetricExporter(endpoint=f"{otlp}/v1/metrics", compression=packed, timeout=2)
    metrics = MeterProvider([PeriodicExportingMetricReader(points, export_interval_millis=EVERY)], resource)
    spans = TracerProvider(resource=resource)
    exporter = OTLPSpanExporter(endpoint=f"{otlp}/v1/traces", compression=packed, timeout=2)
    spans.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EVERY))
    logs = LoggerProvider(resource=resource)
    lines = OTLPLogExporter(endpoint=f"{otlp}/v1/logs", compression=packed, timeout=2)
    logs.add_log_record_processor(BatchLogRecordProcessor(lines, schedule_delay_millis=EVERY))
    try:
        yield Telemetry(metrics, spans.get_tracer("shop"), logger(name, logs))
    finally:
        logs.shutdown()
        spans.shutdown()
        metrics.shutdown(timeout_millis=LAST)


class Lines(logging.Handler):
    """Log lines as OTLP records of the span that is under way."""

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._logger = provider.get_logger("shop")

    def emit(self, record: logging.LogRecord) -> None:
        """By the semantic conventions for code and exceptions."""
        attributes: dict[str, str | int] = {
            "code.file.path": record.pathname,
            "code.function.name": record.funcName,
            "code.line.number": record.lineno,
        }
        if record.exc_info and record.exc_info[0]:
            attributes["exception.type"] = record.exc_info[0].__name__
            attributes["exception.message"] = str(record.exc_info[1])
            attributes["exception.stacktrace"] = "".join(traceback.format_exception(*record.exc_info))
        self._logger.emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                observed_timestamp=time.time_ns(),
                severity_number=SEVERITY[record.levelno],
                severity_text=record.levelname,
                body=record.getMessage(),
                attributes=attributes,
            )
        )


def logger(name: str, provider: LoggerProvider) -> logging.Logger:
    """The service's own; nothing reaches the terminal."""
    log = logging.getLogger(f"shop.{name}")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(Lines(provider))
    return log
