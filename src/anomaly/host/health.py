"""How the detector is doing: counters for Prometheus, alive and ready for an orchestrator, and what blindness is judged by.

Hosts report; nothing here decides. Labels are bounded by configuration and code: source, stage, topic, partition, reason,
receiver, and the environments of the first MOST_BUDGETS alert budgets; never a series, a group or a trace. A `Health` that
is not served is harmless, so nothing has to ask for one.
"""

import platform
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import islice

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anomaly import __version__
from anomaly.decode.records import DeadLetter
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.dispatch.alert import Alert
from anomaly.dispatch.budget import Reading

LATER = ("detect", "correlate", "dispatch", "deliver")  # stages whose records another stage has read and counted before
RECENT = 60.0  # seconds: the window over which the share of rejects is counted
RECORDS = tuple(float(4**n) for n in range(10))  # 1 … 262,144 records a batch
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BUDGET = {  # what is shown of an alert budget, by the names of its reading
    "per_week": "Pages a week that may rest on statistics alone.",
    "left": "Pages that may be sent now.",
    "paged": "Pages on statistics in the last seven days.",
    "held": "Incidents above the threshold in the last seven days that found the budget spent.",
    "under": "Incidents with evidence in the last seven days that the threshold kept from paging.",
    "evidence": "Score that a page needs.",
    "threshold": "Surprise that a page needs: minus the decimal logarithm of how often a week the series does such a thing.",
    "rate": "Incidents a week that reach the threshold, as counted.",
}
MOST_BUDGETS = 100  # environments come from telemetry


class Health:
    """What hosts report and Prometheus reads. `now` is the wall clock, seconds since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.registry = CollectorRegistry()
        self.heard: dict[str, float] = {}  # wall time of the last record, by assigned source
        self.assigned_at: dict[str, float] = {}
        self.seldom: frozenset[str] = frozenset()  # sources that may be silent for days: changes
        self._known: dict[str, tuple[int, float]] = {}  # by stage
        self._assigned: dict[str, set[str]] = {}  # by stage
        self.newest: int | None = None  # event time of the newest point judged, ms
        self.brokers_gone_since: float | None = None
        self.compiled = self.joined = False
        self._recent: deque[tuple[float, int, int]] = deque()  # (wall time, records, rejects)
        self.port = 0  # where it is served
        self._runner: web.AppRunner | None = None
        self._metrics()

    def _metrics(self) -> None:
        r = self.registry
        self._records = Counter("anomaly_records", "Records read from a source.", ["source"], registry=r)
        self._stage_points = Counter("anomaly_stage_points", "Points that went through a stage.", ["stage"], registry=r)
        self._points = Counter("anomaly_points", "Points by what became of them.", ["outcome"], registry=r)
        self._rejects = Counter(
            "anomaly_rejects", "Records set aside, or points of them, by reason.", ["reason"], registry=r
        )
        self._series = Gauge("anomaly_series", "Series known.", registry=r)
        self._warm = Gauge("anomaly_warm_ratio", "Share of the series whose model has learned enough.", registry=r)
        self._anomalies = Counter("anomaly_anomalies", "Anomalies opened.", ["signal"], registry=r)
        self._incidents = Gauge("anomaly_incidents_open", "Incidents open.", registry=r)
        self._alerts = Counter("anomaly_alerts", "Alerts decided.", ["event", "severity"], registry=r)
        self._suppressed = Counter("anomaly_suppressed", "Judgements that led to no alert.", ["reason"], registry=r)
        self._deliveries = Counter("anomaly_deliveries", "Alerts sent to receivers.", ["receiver", "result"], registry=r)
        self._lag = Gauge("anomaly_lag_records", "Records not read yet.", ["topic", "partition"], registry=r)
        self._batch = Histogram("anomaly_batch_records", "Records in a batch.", ["stage"], buckets=RECORDS, registry=r)
        self._seconds = Histogram("anomaly_stage_seconds", "Time of a batch.", ["stage"], buckets=SECONDS, registry=r)
        self._misplaced = Counter(
            "anomaly_groups_misplaced", "Groups on a second partition of a source keyed by group.", ["source"], registry=r
        )
        self._compile = Gauge("anomaly_compile_seconds", "Time to compile or load the kernels.", registry=r)
        self._blind = Gauge("anomaly_blind", "1 while the detector cannot see, by reason.", ["reason"], registry=r)
        self._newest = Gauge("anomaly_newest_point_timestamp_seconds", "Event time of the newest point judged.", registry=r)
        self._newest.set(float("nan"))  # not known yet: an age computed from 0 would page
        said = "Time in which nothing was judged, while what changed was copied."
        self._pause = Histogram("anomaly_checkpoint_pause_seconds", said, ["stage"], buckets=SECONDS, registry=r)
        self._written = Counter("anomaly_checkpoint_bytes", "State written.", ["stage"], registry=r)
        self._checkpoints = Counter(
            "anomaly_checkpoints", "Checkpoints, by what became of them.", ["stage", "result"], registry=r
        )
        self._state = Gauge("anomaly_state_bytes", "State kept, compressed.", ["stage", "partition"], registry=r)
        self._restore = Gauge("anomaly_restore_seconds", "Time of the last restore of state.", ["stage"], registry=r)
        self._state_lost = Counter(
            "anomaly_state_lost", "Partitions whose checkpoints were gone or damaged.", ["stage"], registry=r
        )
        self._anew = Counter("anomaly_topic_anew", "Partitions of topics that were made anew, read from where they begin.",
                             ["stage"], registry=r)  # fmt: skip
        self._lost = Counter("anomaly_records_lost", "Records that were gone from a topic before they were read.", ["stage"],
                             registry=r)  # fmt: skip
        self._stalls = Counter(
            "anomaly_stalls",
            "Times a stage made no progress and its consumer was made anew.",
            ["stage", "reason"],
            registry=r,
        )
        self._budget = {
            name: Gauge(f"anomaly_budget_{name}", said, ["environment", "budget"], registry=r)
            for name, said in BUDGET.items()
        }
        info = Gauge("anomaly_build_info", "1, with the version.", ["version", "python"], registry=r)
        info.labels(__version__, platform.python_version()).set(1)

    # What the stages report.

    def batch(
        self, stage: str, source: str, partition: int, records: int, points: int, seconds: float, newest: int | None = None
    ) -> None:
        """A stage has worked off a batch of a source. `newest`, from detect: the latest event time judged, ms."""
        del partition  # its progress is the lag's
        self._stage_points.labels(stage).inc(points)
        self._batch.labels(stage).observe(records)
        self._seconds.labels(stage).observe(seconds)
        if stage not in LATER:
            self._read(source, records)
        if newest is not None:
            self.judged(newest)

    def _read(self, source: str, records: int) -> None:
        if source in self.assigned_at and records:
            self._records.labels(source).inc(records)
            self.heard[source] = self.now()
            self._count(records, 0)

    def judged(self, time_ms: int) -> None:
        """Points up to this event time (ms) have been judged."""
        self.newest = max(time_ms, self.newest or 0)
        self._newest.set(self.newest / 1000.0)

    def checkpoint_pause(self, stage: str, seconds: float) -> None:
        """So long nothing was judged, because what changed was copied."""
        self._pause.labels(stage).observe(seconds)

    def checkpoint(self, stage: str, partition: int, written: int, kept: int) -> None:
        """A checkpoint of so many bytes was written; so many are kept of the partition."""
        self._checkpoints.labels(stage, "written").inc()
        self._written.labels(stage).inc(written)
        self._state.labels(stage, str(partition)).set(kept)

    def checkpoint_failed(self, stage: str, result: str) -> None:
        """A checkpoint was not written."""
        self._checkpoints.labels(stage, result).inc()

    def restored(self, stage: str, seconds: float) -> None:
        """State was restored."""
        self._restore.labels(stage).set(seconds)

    def state_lost(self, stage: str) -> None:
        """The checkpoints of a partition are gone or damaged: it begins anew."""
        self._state_lost.labels(stage).inc()

    def anew(self, stage: str) -> None:
        """A partition's offsets have begun anew."""
        self._anew.labels(stage).inc()

    def lost(self, stage: str, records: int) -> None:
        """Records were deleted before we read them."""
        self._lost.labels(stage).inc(records)

    def stalled(self, stage: str, reason: str) -> None:
        """A stage made no progress."""
        self._stalls.labels(stage, reason).inc()

    def set_aside(self, letters: Iterable[DeadLetter]) -> None:
        """Records were set aside, or points of them: a record whose other points were read is no sign of blindness."""
        for letter in letters:
            self._rejects.labels(letter.reason).inc()
            self._count(0, 0 if letter.points else 1)

    def outcomes(self, added: Mapping[str, int]) -> None:
        """Points by what became of them, counted since the last call."""
        for outcome, n in added.items():
            self._points.labels(outcome).inc(n)

    def series(self, n: int, warm_share: float, stage: str = "") -> None:
        """So many series are known to a stage, over all its partitions, and this share of their models is warm."""
        self._known[stage] = n, warm_share
        total = sum(n for n, _ in self._known.values())
        self._series.set(total)
        self._warm.set(sum(n * share for n, share in self._known.values()) / max(total, 1))

    def anomaly(self, anomaly: Anomaly) -> None:
        """Detect said this."""
        if anomaly.event is Event.OPEN:
            self._anomalies.labels(anomaly.signal.value).inc()

    def incidents(self, n: int) -> None:
        """So many incidents are open, over all partitions."""
        self._incidents.set(n)

    def alert(self, alert: Alert) -> None:
        """Dispatch decided this."""
        self._alerts.labels(alert.event.value, alert.severity.value).inc()

    def budgets(self, readings: Iterable[Reading]) -> None:
        """How the alert budgets stand; past so many the rest is not shown."""
        for reading in islice(readings, MOST_BUDGETS):
            for name, gauge in self._budget.items():
                gauge.labels(reading.environment, reading.name).set(getattr(reading, name))

    def misplaced(self, source: str, groups: int) -> None:
        """Groups of a source that is declared `keyed: group` were met on a second partition."""
        self._misplaced.labels(source).inc(groups)

    def suppressed(self, reason: str, n: int = 1) -> None:
        """So many judgements led to no alert, for a reason."""
        self._suppressed.labels(reason).inc(n)

    def delivery(self, receiver: str, result: str) -> None:
        """A receiver was sent to: `sent`, `failed` or `retried`."""
        self._deliveries.labels(receiver, result).inc()

    # What the hosts report.

    def compile_seconds(self, seconds: float) -> None:
        """The kernels are compiled, or loaded from their cache."""
        self._compile.set(seconds)
        self.compiled = True

    def assigned(self, sources: Iterable[str], stage: str = "") -> None:
        """From now on these sources, and no others, are this process's to read by a stage."""
        now, self.joined = self.now(), True
        self._assigned[stage] = set(sources)
        self.assigned_at = {s: self.assigned_at.get(s, now) for s in sorted(set().union(*self._assigned.values()))}
        self.heard = {s: t for s, t in self.heard.items() if s in self.assigned_at}

    def lag(self, topic: str, partition: int, n: int) -> None:
        """So many records of a partition are not read yet."""
        self.joined = True
        self._lag.labels(topic, str(partition)).set(n)

    def lag_gone(self, topic: str, partition: int) -> None:
        """The partition is another worker's now."""
        self._lag.remove(topic, str(partition))

    def brokers(self, reachable: bool) -> None:
        """Whether any broker answers."""
        self.brokers_gone_since = None if reachable else (self.brokers_gone_since or self.now())

    def blind(self, reason: str, is_blind: bool) -> None:
        """Whether the detector cannot see, for this reason."""
        self._blind.labels(reason).set(is_blind)

    # What is read.

    def recent(self, now: float) -> tuple[int, int]:
        """Records of the assigned sources, and rejects, of the last minute."""
        while self._recent and self._recent[0][0] <= now - RECENT:
            self._recent.popleft()
        return sum(r for _, r, _ in self._recent), sum(d for _, _, d in self._recent)

    def _count(self, records: int, rejects: int) -> None:
        """Into the slot of this second, so that the window holds at most a minute's seconds."""
        second = float(int(self.now()))
        if self._recent and self._recent[-1][0] == second:
            _, r, d = self._recent.pop()
            records, rejects = records + r, rejects + d
        self._recent.append((second, records, rejects))
        self.recent(second)

    def missing(self) -> list[str]:
        """What there is still to wait for before this process does its work."""
        waits = {"kernels are not compiled yet": self.compiled, "no source is assigned yet": self.joined}
        return [text for text, done in waits.items() if not done]

    # The server.

    async def start(self, listen: str) -> int:
        """Serve /metrics, /healthz and /readyz on `host:port`; returns the port (of use where 0 was asked for)."""
        app = web.Application()
        app.add_routes([web.get("/metrics", self._get_metrics), web.get("/healthz", self._get_healthz)])
        app.add_routes([web.get("/readyz", self._get_readyz)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        host, _, port = listen.rpartition(":")
        site = web.TCPSite(self._runner, host.strip("[]") or None, int(port))
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self.port

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _get_metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _get_healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _get_readyz(self, _: web.Request) -> web.Response:
        waits = self.missing()
        return web.Response(text="".join(f"{w}\n" for w in waits) or "ready\n", status=503 if waits else 200)
