"""Episodes as anomalies: what opened, grew or closed, with its evidence.

An anomaly's id is a hash of who is concerned (environment, group, metric, quantity, labels, instance unless aggregated) and
when it started, without any seed: the same episode has the same id in every replay and on every worker.
"""

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from anomaly.config.models import Direction, ModelSpec, Signal
from anomaly.detect.absence import Silence
from anomaly.detect.anomaly import HEARD, LEFT, MISSED, NEW_NORMAL, REMOVED, Anomaly, Event
from anomaly.detect.episode import BAD, WARNED
from anomaly.detect.episodes import CLOSED, OPENED, REASONS, RECORD
from anomaly.detect.identity import identity
from anomaly.detect.judge import LEARNED, Batch, Judge, Verdicts
from anomaly.detect.recent import pairs
from anomaly.detect.sites import Sites
from anomaly.detect.subject import Subjects

SILENCE = "group"  # metric of a silent group
SURE, SUREST = 8.0, 30.0  # bounds of the score of a silence
PROBES, SERVICE = "probes", "service.name"  # group of a check that is missed, and the label that says of what


class Report:
    """Open anomalies by judged row, and silent groups by their name, checks by theirs (`Sites.who`)."""

    def __init__(self, specs: Sequence[ModelSpec], subjects: Subjects, judge: Judge, sites: Sites) -> None:
        self.specs, self.subjects, self.judge, self.sites = specs, subjects, judge, sites
        self.open: dict[int, Anomaly] = {}
        self.silent: dict[tuple[object, ...], Anomaly] = {}
        self._known: dict[tuple[object, ...], Anomaly] = {}  # from before a restart, not announced again yet
        self._introduced = 0

    def restore(self, anomalies: Iterable[Anomaly]) -> None:
        """Anomalies known to be open: held until their series is heard again."""
        for a in anomalies:
            if a.quantity == HEARD:
                self.silent[a.environment, a.group] = a
                continue
            if a.quantity == MISSED:
                labels = tuple(pair for pair in a.labels if pair[0] != SERVICE)
                self.silent[a.environment, served(a), a.metric, labels, a.instance] = a
                continue
            self._known[a.key] = a
        self._introduced = 0
        self.introduce()

    def known(self) -> list[Anomaly]:
        """Anomalies from before a restart whose series was not announced again."""
        return sorted(self._known.values(), key=lambda a: a.id)

    def take_over(self, opened: dict[int, Anomaly], silent: Iterable[Anomaly], known: Iterable[Anomaly]) -> None:
        """Go on where another process stopped, with the rows that it had."""
        self.open = opened
        self.restore([*silent, *known])

    def introduce(self) -> None:
        """Go on with the episodes of judged rows that are new, where they were known before."""
        for row in range(self._introduced, len(self.subjects) if self._known else 0):
            a = self._known.pop(self.subjects[row].key, None)
            if a is not None and row not in self.open:
                self.open[row] = a
                self.judge.restore(row, a)
        self._introduced = len(self.subjects)

    def give_up(self, groups: set[tuple[str, str]], time: int) -> list[Anomaly]:
        """Anomalies from before a restart, of these groups, whose series did not come again: they end."""
        over = [a for a in self.known() if (a.environment, a.group) in groups]
        self._known = {key: a for key, a in self._known.items() if a not in over}
        return [self.over(a, time) for a in over]

    def of(self, batch: Batch, verdicts: Verdicts) -> list[Anomaly]:
        """What a batch changed, in arrival order."""
        return [self._event(batch, verdicts, e) for e in verdicts.events]

    def ended(self, row: int, time: int) -> Anomaly:
        """The series of an open anomaly is no more."""
        self.judge.episodes.close(row, REMOVED)
        return self.over(self.open.pop(row), time)

    @staticmethod
    def over(a: Anomaly, time: int) -> Anomaly:
        """An anomaly whose series is no more."""
        return msgspec.structs.replace(a, event=Event.CLOSE, time=time, ended=time, reason=REMOVED)

    @staticmethod
    def let_go(a: Anomaly, time: int) -> Anomaly:
        """A regression whose baseline was lost with the state: what is now is what will be compared."""
        at = max(a.time, time)
        return msgspec.structs.replace(a, event=Event.CLOSE, time=at, ended=at, reason=NEW_NORMAL)

    def missed(self, row: int, s: Silence) -> Anomaly | None:
        """No result of a check came any more, or one came again, by the row of its series.

        That is no word on its service: it is a matter of who looks.
        """
        key, usual = self.sites.who(row), s.usual / 1000.0
        if s.back or key in self.silent:
            return self._again(key, s) if s.back else None
        series, site, lasted = self.subjects.series(row), self.sites.site(row), (s.time - s.since) / 1000.0
        group = f"{PROBES} from {site}" if site else PROBES
        labels = tuple(sorted((*series.labels, (SERVICE, series.group))))
        who = series.environment, group, series.metric, MISSED, labels, series.instance
        a = self.silent[key] = Anomaly(
            id=identity(who, s.since), event=Event.OPEN, time=s.time, environment=series.environment, group=group,
            metric=series.metric, quantity=MISSED, labels=labels, instance=series.instance, aggregate=False, unit="s",
            signal=Signal.OTHER, spec=self.sites.spec(row).name, pages=False, direction=Direction.ABOVE, started=s.since,
            ended=None, score=0.0, observed=lasted, current=lasted, expected=(0.0, usual), events=None, bad=False,
            learned=0.0, points=(),
        )  # fmt: skip
        return a

    def not_missed(self, rows: NDArray[np.int32], time: int) -> list[Anomaly]:
        """Series that are forgotten, by their rows: nobody waits for their results any more."""
        gone = [self.silent.pop(self.sites.who(row), None) for row in rows.tolist() if self.sites.is_silent(row)]
        return [self.over(a, time) for a in gone if a]

    def _again(self, key: tuple[object, ...], s: Silence) -> Anomaly | None:
        """Who was silent is heard."""
        a = self.silent.pop(key, None)
        if a is None:
            return None
        back = s.back if s.back > a.time else s.time  # after a restart what was said before comes once more
        lasted = max((back - a.started) / 1000.0, a.observed)
        return msgspec.structs.replace(
            a, event=Event.CLOSE, time=back, ended=back, observed=lasted, current=0.0, reason="heard again"
        )

    def silence(self, key: tuple[str, str], s: Silence, spec: ModelSpec | None) -> Anomaly | None:
        """A group fell silent or was heard again; `spec` marks those that are watched."""
        usual = s.usual / 1000.0
        if s.back or key in self.silent:
            return self._again(key, s) if s.back else None
        lasted = (s.time - s.since) / 1000.0
        score = min(max(math.log10(math.e) * lasted / max(usual, 1.0), SURE), SUREST)
        a = self.silent[key] = Anomaly(
            id=identity((*key, SILENCE, HEARD, (), None), s.since), event=Event.OPEN, time=s.time, environment=key[0],
            group=key[1], metric=SILENCE, quantity=HEARD, labels=(), instance=(), aggregate=True, unit="s",
            signal=Signal.TRAFFIC, spec=spec.name if spec else "", pages=True, direction=Direction.ABOVE, started=s.since,
            ended=None, score=score, observed=lasted, current=lasted, expected=(0.0, usual), events=None, bad=False,
            learned=0.0, points=(),
        )  # fmt: skip
        return a

    def _event(self, batch: Batch, verdicts: Verdicts, e: np.record) -> Anomaly:
        row = int(e.row)
        if e.event == OPENED:
            self.open[row] = self._opened(batch, verdicts, e)
        a = self._now(self.open[row], batch, verdicts, e)
        if e.event == OPENED:
            self.open[row] = a
            return a
        if e.event == RECORD:
            self.open[row] = msgspec.structs.replace(a, event=Event.RECORD)
            return self.open[row]
        del self.open[row]
        return msgspec.structs.replace(a, event=Event.CLOSE, ended=a.time, reason=REASONS[e.reason])

    def _now(self, a: Anomaly, batch: Batch, verdicts: Verdicts, e: np.record) -> Anomaly:
        """The anomaly as the value of the event leaves it."""
        at, observed, breadth = int(e.index), float(e.observed), a.breadth
        if a.quantity == LEFT:  # the least that was said of it, whatever the model finds odd
            observed = float(verdicts.value[at])
            observed = observed if e.event == OPENED else min(a.observed, observed)
        if e.event != CLOSED:
            breadth = self.sites.agreeing(int(e.row), self.open) or breadth
        return msgspec.structs.replace(
            a,
            time=int(batch.time[at]),
            score=float(e.score),
            observed=observed,
            current=float(verdicts.value[at]),
            bad=a.bad or int(verdicts.bad[at]) == BAD,
            warned=a.warned or int(verdicts.bad[at]) == WARNED,
            events=(float(e.tally_k), float(e.tally_n)) if self.judge.table["slot"][e.row] >= 0 else None,
            points=pairs(e.second, e.value),
            breadth=breadth,
            alone=a.alone if e.event == CLOSED else self._alone(batch, e),
        )

    def _alone(self, batch: Batch, e: np.record) -> bool:
        """Whether nothing but one value says so: k of n has many events behind it, and so have those that stay away."""
        what = self.judge.table[e.row]
        return bool(batch.time[e.index] == e.started and what["slot"] < 0 and not (what["traffic"] and e.side < 0))

    def _opened(self, batch: Batch, verdicts: Verdicts, e: np.record) -> Anomaly:
        at, row, started = int(e.index), int(e.row), int(e.started)
        subject = self.subjects[row]
        spec = self.specs[subject.spec]
        low, high = (float(x) if math.isfinite(x) else float(verdicts.value[at]) for x in (e.low, e.high))
        return Anomaly(
            id=identity(subject.key, started), event=Event.OPEN, time=started, environment=subject.environment,
            group=subject.group, metric=subject.metric, quantity=subject.quantity, labels=subject.labels,
            instance=subject.instance or (), aggregate=subject.instance is None, unit=subject.unit, signal=spec.signal,
            spec=spec.name, pages=spec.pages and (subject.instance is None or spec.signal is not Signal.TRAFFIC),
            direction=Direction.ABOVE if e.side > 0 else Direction.BELOW,
            started=started, ended=None, score=0.0, observed=0.0, current=0.0, expected=(low, high), events=None, bad=False,
            learned=float(verdicts.judged[at, LEARNED]), points=(),
            supports=self.subjects.supports(row, spec, started),
        )  # fmt: skip


def served(a: Anomaly) -> str:
    """Whose group it is that an anomaly is about, though a matter of who looks."""
    return dict(a.labels).get(SERVICE, a.group) if a.quantity == MISSED else a.group
