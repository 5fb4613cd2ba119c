"""The state of log lines: kept by rows, read from before it was, and gone along with its group."""

import lzma
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tests.acceptance.test_log_timelines import BEGIN, ERROR, EVERY, INFO, SOURCE, Lines, fresh, request, usual

from anomaly.decode.records import Records
from anomaly.detect.anomaly import Anomaly, Event
from anomaly.detect.handover import hand_over
from anomaly.detect.novelty import QUANTITY
from anomaly.engine import Engine

KEPT = Path(__file__).parent / "kept" / "log_lines_1.msgpack.xz"
FULL = [(ERROR, "disk of ada is full")] * 4


def play(engine: Engine, seconds: Iterable[int], ill: range, partition: int = 0, usual_: bool = True) -> list[Anomaly]:
    """What detect says of the cart's lines; in `ill` seconds a new error comes in numbers."""
    said = []
    for second in seconds:
        lines: Lines = [*(usual(second) if usual_ else ()), *(FULL if second in ill else ())]
        records = Records.of([request(second, lines)], "lines", partition, second, (BEGIN + second) * 1000)
        for p, block in engine.decode(SOURCE, records)[0]:
            said += [a for a in engine.detect(p, block) if isinstance(a, Anomaly)]
    return said


def kinds(engine: Engine) -> dict[tuple[str, int, str], tuple[object, ...]]:
    """What is known of each template, by who it is; rows may be others."""
    held = engine.detector(0).logs.kinds
    found = {}
    for row in np.flatnonzero(held.rows.template["key"]).tolist():
        one, name = held.rows.template[row], held.name(row)
        key = *held.rows.who(int(one["group"])), int(one["level"]), name.text
        found[key[1:]] = (name, *(one[f].item() for f in ("key", "born", "last", "total")), held.rows.rings[row].tolist())
    return found


def test_a_checkpoint_holds_the_rows_of_the_lines_that_came() -> None:
    """Of three services one logs on: the templates and signatures of the others are not written again."""
    engine = fresh()
    for second in range(0, 200, EVERY):
        said: dict[str, Lines] = {"cart": [(INFO, "started"), (INFO, f"served {second}"), (ERROR, "lost")]}
        if second < 100:
            said |= {"shop": said["cart"], "mail": said["cart"]}
        values = [request(second, lines, service) for service, lines in said.items()]
        engine.process(SOURCE, Records.of(values, "lines", 0, second, (BEGIN + second) * 1000))
        if second == 140:
            list(engine.detector(0).ahead(1))
            engine.detector(0).gather(1)
    parts = {part.table: part.rows for part in engine.detector(0)._keep.gather(2)[0]}

    assert len(engine.detector(0).logs.kinds) == 9
    assert [len(parts[name]) for name in ("log_templates", "log_signatures", "log_groups")] == [3, 3, 1]


def test_a_state_from_before_there_were_tables_is_read() -> None:
    """It was written behind 900 s of this story, while a new error was open; what follows is as if it had not been."""
    engine, through = fresh(), fresh()
    ill = range(840, 880)
    play(through, range(0, 900, EVERY), ill)
    engine.detector(0).logs.load(lzma.decompress(KEPT.read_bytes()), 0)

    assert kinds(engine) == kinds(through)
    mine, theirs = engine.detector(0).logs, through.detector(0).logs
    assert (mine.time, mine.closed, mine.sources) == (theirs.time, theirs.closed, theirs.sources)
    assert mine.novelty.open == theirs.novelty.open != {}
    for each in (engine, through):  # decode announces nothing that it knows: who was restored must know it too
        each._decode = through._decode
    after = [play(each, range(900, 1_100, EVERY), ill) for each in (through, engine)]
    assert [a for a in after[1] if a.quantity == QUANTITY] == [a for a in after[0] if a.quantity == QUANTITY] != []


def test_a_group_that_moves_takes_its_templates_along() -> None:
    """In the middle of a new error: nothing is new where it comes to, what is open ends there, no line is in two cells."""
    through, before, after = fresh(), fresh(), fresh()
    ill = range(840, 920)
    play(through, range(0, 880, EVERY), ill)
    play(before, range(0, 880, EVERY), ill)
    for second in range(0, 880, EVERY):  # others are there already
        after.process(
            SOURCE, Records.of([request(second, [(INFO, "up")], "mail")], "lines", 7, second, (BEGIN + second) * 1000)
        )
    donor, to = before.detector(0), after.detector(0)
    groups = donor.register.tables.groups["group"]["key"][: donor.register.tables.groups.used]
    opened = hand_over(donor, to, groups, "lines", 7)
    assert [a for a in opened if a.quantity == QUANTITY] == list(before.detector(0).logs.novelty.open.values()) != []

    found = [play(through, range(880, 1_100, EVERY), ill), play(after, range(880, 1_100, EVERY), ill, partition=7)]
    said = [[(a.id, a.event, a.time, a.score) for a in each if a.group == "cart"] for each in found]
    assert said[1] == said[0] != []
    assert {k: v for k, v in kinds(after).items() if k[0] == "cart"} == kinds(through)


def test_what_was_new_when_all_state_was_lost_ends_once_under_its_name_and_nothing_is_told_as_new() -> None:
    """The service goes on with what it always wrote, the error with what it was."""
    first, second = fresh(), fresh()
    ill = range(840, 940)
    said = play(first, range(0, 900, EVERY), ill)
    *_, opened = [a for a in said if a.quantity == QUANTITY]
    second.detector(0).restore([opened])
    after = [a for a in play(second, range(900, 1_500, EVERY), ill) if a.quantity == QUANTITY]

    assert [(a.id, a.event, a.reason) for a in after] == [(opened.id, Event.CLOSE, "back to normal")]
    assert after[0].example == FULL[0][1]


def test_errors_that_come_now_and_then_are_no_news_when_all_state_was_lost() -> None:
    """A service has sixty kinds of errors, each in numbers once in twenty minutes: so it was before, and so it is after."""
    engine, words = fresh(), ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
    kinds_of = [f"{a} {b} lost" for a in words for b in words[:6]]
    said = []
    for second in range(0, 2_400, EVERY):
        lines: Lines = [(INFO, "served")] * 5
        if second % 20 == 0:
            lines = [*lines, *[(ERROR, kinds_of[second // 20 * 7 % 60])] * 5]
        for p, block in engine.decode(
            SOURCE, Records.of([request(second, lines)], "lines", 0, second, (BEGIN + second) * 1000)
        )[0]:
            said += [a for a in engine.detect(p, block) if isinstance(a, Anomaly) and a.quantity == QUANTITY]

    assert len(engine.detector(0).logs.kinds) == 61
    assert said == []
