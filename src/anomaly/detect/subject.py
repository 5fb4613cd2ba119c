"""What a judged row is about, in words: made from the texts when somebody asks, which is rare."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from anomaly.config.models import Announces, ModelSpec
from anomaly.decode.identity import Labels, Series, unpack
from anomaly.detect.anomaly import LEFT
from anomaly.detect.judge import Judge
from anomaly.detect.rows import DISTRIBUTION, QUANTITIES, Tables
from anomaly.detect.text import to_text

COUNTED = "rate"  # of observations, whatever unit they are measured in


@dataclass(slots=True)
class Subject:
    """What a judged row is about; `instance` is None for an aggregate, `spec` an index."""

    environment: str
    group: str
    metric: str
    quantity: str
    labels: Labels
    instance: Labels | None
    unit: str
    spec: int

    @property
    def key(self) -> tuple[object, ...]:
        """Who it is, whatever the seed, the order of arrival and the specs."""
        return self.environment, self.group, self.metric, self.quantity, self.labels, self.instance


def per_second(unit: str) -> str:
    """The unit of a rate."""
    return f"{unit}/s" if unit != "1" else "/s"


def unit_of(quantity: str, unit: str) -> str:
    """The unit of a quantity of a metric in this unit."""
    return {"rate": per_second(unit), "error ratio": "1", LEFT: "s"}.get(quantity, unit)


GONE = 600_000  # ms of silence after which an instance does not count any more


class Subjects(Sequence[Subject]):
    """By judged row. One that was set free is not asked for."""

    def __init__(self, tables: Tables, judge: Judge) -> None:
        self.tables, self.judge = tables, judge

    def __len__(self) -> int:
        return self.tables.subjects.used

    @overload
    def __getitem__(self, row: int) -> Subject: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[Subject]: ...
    def __getitem__(self, row: int | slice) -> Subject | Sequence[Subject]:
        if isinstance(row, slice):
            return [self[r] for r in range(*row.indices(len(self)))]
        if not 0 <= row < len(self):
            raise IndexError(row)
        one = self.tables.subjects["subject"][row]
        quantity, of = QUANTITIES[one["quantity"]], int(one["of"])
        if not one["whole"]:
            s = self.series(of)
            return self._subject(s, quantity, s.labels, s.instance, s.unit, row)
        agg = self.tables.aggregates["aggregate"][of]
        s = self.aggregate(of)
        unit = "" if agg["reading"] == DISTRIBUTION and quantity == COUNTED else s.unit
        labels = s.labels if agg["labelled"] else ()
        return self._subject(s, quantity, labels, s.instance if agg["instanced"] else None, unit, row)

    def _subject(self, s: Series, quantity: str, labels: Labels, instance: Labels | None, unit: str, row: int) -> Subject:
        spec = int(self.judge.table["spec"][row])
        return Subject(s.environment, s.group, s.metric, quantity, labels, instance, unit_of(quantity, unit), spec)

    def supports(self, row: int, spec: ModelSpec, time: int) -> bool:
        """Whether the spec does not announce what a judged row says."""
        if spec.announces is not Announces.SHARED:
            return spec.announces is Announces.NONE
        heard = self._heard(row, time)
        return len(heard) == 1 and bool(self.series(heard[0]).instance)

    def _heard(self, row: int, time: int) -> list[int]:
        """The series that a judged row is about, those that are still heard."""
        one, t = self.tables.subjects["subject"][row], self.tables
        if not one["whole"]:
            return [int(one["of"])]
        found, m = list[int](), int(t.aggregates["aggregate"]["head"][one["of"]])
        while m >= 0:
            of = int(t.members["member"]["row"][m])
            if t.rows["row"]["last"][of] > time - GONE and not t.rows["row"]["stale"][of]:
                found.append(of)
            m = int(t.members["member"]["next_of_agg"][m])
        return found

    def text(self, row: int) -> bytes:
        """The text of a series, as it was announced."""
        label, group = self.tables.labels["label"][row], int(self.tables.rows["row"]["group"][row])
        return self._whole(group, self.tables.label_text.array[label["text_at"] : label["text_at"] + label["text_len"]])

    def series(self, row: int) -> Series:
        """A series by its row."""
        return unpack(int(self.tables.rows["row"]["key"][row]), self.text(row))

    def aggregate(self, a: int) -> Series:
        """The series whose text an aggregate has."""
        agg = self.tables.aggregates["aggregate"][a]
        text = self.tables.aggregate_text.array[agg["text_at"] : agg["text_at"] + agg["text_len"]]
        return unpack(0, self._whole(int(agg["group"]), text))

    def group(self, g: int) -> tuple[str, str]:
        """Environment and group."""
        s = unpack(0, self._whole(g, NOBODY))
        return s.environment, s.group

    def _whole(self, g: int, text: object) -> bytes:
        group = self.tables.groups["group"][g]
        name = self.tables.group_text.array[group["text_at"] : group["text_at"] + group["text_len"]]
        return b"".join([b"\x99", name.tobytes(), bytes(text), to_text(int(group["key"]))])  # type: ignore[call-overload]


NOBODY = b"".join(to_text(each) for each in ("", "", (), (), 0, ()))
