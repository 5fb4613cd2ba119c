"""Faults in a real system's logs, traces and metrics (the Nezha slice), replayed through the whole pipeline and scored.

Lines, spans and samples are sent as a Collector would send them, OTLP protobuf of a few seconds, in order of event time,
all sources in turn; decoded, judged, put together and decided as the embedded host does it, with shipped specs and settings,
and not told when a fault happens. `nezha_score` says what is counted. With `--two N` pairs of faults happen at once as well:
lines and spans of the second are moved to the onset of the first, and samples of the pod that it breaks; all else is the
first's, with what was learned until then.

    python benchmarks/nezha.py --data NEZHA [--json] [--two N --seed S] [--alerts FILE]
"""

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, combinations
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks.nezha_read import EVENT, Fault, LogRow, MetricRow, Row, SpanRow  # noqa: E402
from benchmarks.nezha_score import REGISTRY, Score, Told, apart, false, judged, of_registry, summed, told  # noqa: E402
from benchmarks.nezha_wire import STEP, Record, records  # noqa: E402

from anomaly.config.load import load_specs  # noqa: E402
from anomaly.config.settings import Settings, SourceSettings  # noqa: E402
from anomaly.decode.records import Records  # noqa: E402
from anomaly.dispatch.alert import Alert, encode  # noqa: E402
from anomaly.engine import Engine  # noqa: E402
from anomaly.host.inprocess import OTLP, walk  # noqa: E402
from benchmarks import nezha_read as read  # noqa: E402

ABSENT = 3  # exit status: the data is not there
AFTERWARDS = 60_000  # ms that two faults at once are followed behind their window: nothing is told before its cell is over
Pair = tuple[Fault, Fault]


class Replay:
    """The embedded host's stages, and what they told."""

    def __init__(self, unlabelled: Mapping[str, Container[str]] | None = None) -> None:
        self.unlabelled = unlabelled or {}
        self.engine, self.alerts, self.dead = Engine(Settings(), load_specs()), list[Alert](), 0
        self._sources = dict[str, SourceSettings]()
        self._offset = 0

    def take(self, record: Record) -> None:
        """All stages over a record."""
        source = self._sources.setdefault(record.encoding, SourceSettings(topic=OTLP, encoding=record.encoding))
        came = Records.of([record.value], OTLP, 0, self._offset, (record.at + STEP) // EVENT)
        self._offset += 1
        given = walk(self.engine, source, came)
        self.dead += len(given.dead)
        self.alerts += [alert for _, alert in given.changed if alert]

    @property
    def told(self) -> list[Told]:
        """As people get them."""
        return [one for alert in self.alerts if (one := told(alert, self.unlabelled))]


def pairs(labelled: Sequence[Fault], n: int, seed: int) -> list[Pair]:
    """So many pairs of faults of a day in different services, each in the order of chance."""
    day = 86_400_000
    all_of_them = [
        pair
        for pair in combinations(labelled, 2)
        if pair[0].service != pair[1].service and pair[0].onset // day == pair[1].onset // day
    ]
    chance = random.Random(seed)
    drawn = chance.sample(all_of_them, min(n, len(all_of_them)))
    return [(a, b) if chance.random() < 0.5 else (b, a) for a, b in drawn]


def window(fault: Fault) -> tuple[int, int]:
    """Of which rows two faults at once are made, ns."""
    return fault.span[0] * EVENT, (fault.span[1] + AFTERWARDS) * EVENT


def both(pair: Pair, rows: Sequence[Row]) -> Iterator[Row]:
    """The rows of two faults at once, at the time of the first."""
    first, second = pair
    begin, end = window(first)
    by = (first.onset - second.onset) * EVENT
    for row in rows:
        if begin <= row.at < end and not (isinstance(row, MetricRow) and row.pod == second.pod):
            yield row
        if begin <= row.at + by < end and not (isinstance(row, MetricRow) and row.pod != second.pod):
            yield moved(row, by)


def moved(row: Row, by: int) -> Row:
    """A row so many ns later, of a trace of its own."""
    if isinstance(row, MetricRow):
        return row._replace(at=row.at + by)
    trace = another(row.trace)
    if isinstance(row, LogRow):
        return row._replace(at=row.at + by, trace=trace, time=row.time + by if row.time > 0 else row.time)
    return row._replace(at=row.at + by, trace=trace, start=row.start + by, end=row.end + by)


def another(trace: str) -> str:
    """The id of a trace when it comes again."""
    return f"{int(trace[:1], 16) ^ 8:x}{trace[1:]}"


def unlabelled(rows: Iterable[Row]) -> dict[str, set[str]]:
    """Traces with a line of the registry problem, and the services that write it."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if isinstance(row, LogRow) and REGISTRY in row.body:
            found[row.trace].add(read.service_of(row.pod))
    return found | {another(trace): who for trace, who in found.items()}


def replayed(rows: Sequence[Row], wanted: Iterable[Pair]) -> tuple[Replay, list[tuple[Pair, bool, list[Told]]]]:
    """All rows; and each pair with what had been learned by then, whether it was told apart, and what was told of it."""
    replay, waiting = Replay(unlabelled(rows)), sorted(wanted, key=lambda pair: pair[0].onset)
    outcomes = []
    for record in records(rows):
        while waiting and record.at + STEP > window(waiting[0][0])[0]:
            outcomes.append(aside(replay, waiting.pop(0), rows))
        replay.take(record)
    return replay, outcomes


def aside(replay: Replay, pair: Pair, rows: Sequence[Row]) -> tuple[Pair, bool, list[Told]]:
    """A pair in a process of its own, so that the replay goes on as if it had not been."""
    ours, theirs = get_context("fork").Pipe(duplex=False)

    def work(answer: Connection) -> None:
        for record in records(both(pair, rows)):
            replay.take(record)
        answer.send(replay.told)

    process = get_context("fork").Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    alerts: list[Told] = ours.recv()
    process.join()
    span = pair[0].span
    return pair, apart(pair, alerts, span), [one for one in alerts if span[0] <= one.time <= span[1]]


def main() -> int:
    """Run, print, and say by the exit status whether there was anything to run on."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the Nezha slice, with its labels.csv")
    parser.add_argument("--json", action="store_true", help="last line: one JSON object")
    parser.add_argument("--two", type=int, default=0, metavar="N", help="so many pairs of faults at once as well")
    parser.add_argument("--seed", type=int, default=1, help="of the pairs")
    parser.add_argument("--alerts", type=Path, help="a file for all alerts, one JSON object a line")
    options = parser.parse_args()
    labelled, began = read.faults(options.data), time.perf_counter()
    sources = (source(options.data) for source in (read.metrics, read.spans, read.logs))
    rows: list[Row] = list(chain.from_iterable(sources)) if labelled else []
    if not rows:
        print(f"nezha: no labelled data in {options.data}: give the slice's folder by --data", file=sys.stderr)
        return ABSENT
    replay, outcomes = replayed(rows, pairs(labelled, options.two, options.seed))
    if options.alerts:
        options.alerts.write_bytes(b"".join(encode(alert) + b"\n" for alert in replay.alerts))
    alerts, scores = replay.told, [judged(fault, replay.told) for fault in labelled]
    wrong = false(alerts, labelled, read.ignored(options.data))
    report = summed(scores) | {"false_incidents": len(wrong), "registry_incidents": of_registry(alerts)}
    if options.two:
        report |= {"pairs": len(outcomes), "pairs_apart": sum(right for _, right, _ in outcomes)}
    kinds = ", ".join(f"{sum(isinstance(r, k) for r in rows):,} {k.__name__}s" for k in (MetricRow, SpanRow, LogRow))
    print(f"{kinds}, {replay.dead} dead letters, {time.perf_counter() - began:.0f} s")
    show(scores)
    for one in wrong:
        print(f"false: {clock(one.time)} {one.title}")
    for pair, right, said in outcomes:
        print(f"{'apart' if right else 'not apart':10}{' + '.join(f'{f.service} {f.type}' for f in pair)}")
        for one in said:
            print(f"{'':10}{(one.time - pair[0].onset) / 1000:6.0f} s {one.incident[:6]} {one.service}: {one.title}")
    print(", ".join(f"{name} {value}" for name, value in report.items()))
    if options.json:
        print(json.dumps(report))
    return 0


def show(scores: Sequence[Score]) -> None:
    """A line for each fault."""
    line = "{:16}{:30}{:16}{:>7}{:>7}{:>5}{:>6}{:>7}{:>7}  {}"
    print(line.format("onset (UTC)", "service", "type", "found", "named", "inc", "rank", "inner", "first", "answer"))
    for s in scores:
        seconds = (f"{x:.0f} s" if x == x else "-" for x in (s.found, s.named))
        yes = ("yes" if x else "-" for x in (s.inner, s.first))
        who, said = (clock(s.fault.onset), s.fault.service, s.fault.type), f"{s.answer.service}: {s.answer.text[:90]}"
        print(line.format(*who, *seconds, s.incidents, s.rank or "-", *yes, said))


def clock(at: int) -> str:
    """A time in ms, for people."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%m-%d %H:%M:%S}"


if __name__ == "__main__":
    sys.exit(main())
