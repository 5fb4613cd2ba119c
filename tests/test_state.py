"""Tables of rows: what is gathered and put back is what there was, whatever happens in between."""

import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly.pool import Pool, grown
from anomaly.state import ahead, gather
from anomaly.table import USED, Part, Table

OWNER = np.dtype([("number", "i8"), ("next", "i4"), ("words_at", "i8"), ("words_len", "i4")])
STEPS = st.lists(
    st.tuples(st.sampled_from(["new", "change", "longer", "release", "gather"]), st.integers(0, 30), st.integers(0, 9)),
    max_size=60,
)


def things() -> tuple[Table, Pool]:
    """A table whose rows have a number and some words."""
    pool = Pool("words", "owner", np.uint16)
    return Table("things", {"owner": (OWNER, 0), "pair": (np.float32, 2)}, (pool,), ("owner", "next")), pool


def seen(table: Table, pool: Pool) -> list[tuple[object, ...]]:
    """Every row, its words written out."""
    rows = table["owner"][: table.used]
    words = [pool.array[r["words_at"] : r["words_at"] + r["words_len"]].tolist() for r in rows]
    return list(
        zip(rows["number"].tolist(), rows["next"].tolist(), words, table["pair"][: table.used].tolist(), strict=True)
    )


def words(table: Table, pool: Pool, row: int, n: int) -> None:
    """Give a row other words, at a new place if there are more."""
    at = int(table["owner"]["words_at"][row]) if n <= table["owner"]["words_len"][row] else table.place(pool, n)
    table["owner"]["words_at"][row], table["owner"]["words_len"][row] = at, n
    pool.array[at : at + n] = range(n)
    table.touched[row] = 1


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_generations_from_the_lowest_needed_on_give_the_table_again(steps: list[tuple[str, int, int]]):
    """Rows added, changed, set free and used again, words that move: checkpoints at random moments, restored from `low`."""
    table, pool = things()
    written: list[tuple[list[Part], str]] = []
    low, free = 1, set[int]()
    for what, which, n in [*steps, ("gather", 0, 0)]:
        row = which % max(table.used, 1)
        if what == "new":
            row = table.new()
            free.discard(row)
            table["owner"]["number"][row], table["pair"][row] = n + 1, (n, 2 * n)
        elif what == "gather":
            generation = len(written) + 1
            slices = ahead([table], generation, size=100)
            begun = [part for _, part in zip(range(n), slices, strict=False)]
            if begun:  # changes between two slices
                table["owner"]["number"][: table.used] += [r not in free for r in range(table.used)]
                table.touched[: table.used] = 1
            parts, low = gather([table], generation)
            written.append(([*begun, *parts], json.dumps(table.layout())))
        elif table.used and row not in free:
            if what == "release":
                table.release(np.array([row], np.int32))
                free.add(row)
            else:
                table["owner"]["number"][row] += 1
                words(table, pool, row, n)
    other, theirs = things()
    for g, (parts, layout) in enumerate(written, 1):
        for part in parts if g >= low else []:
            other.put(g, Part(part.table, part.rows, bytes(part.data)), json.loads(layout))
    other.settle(table.rest())

    assert seen(other, theirs) == seen(table, pool)
    assert other.digest() == table.digest()
    assert other.new() == table.new()


def test_an_older_version_is_read_by_the_names_of_its_fields():
    """A field that is new is zero, one that is gone is left out, one that grew keeps its number."""
    old = Table("things", {"owner": (np.dtype([("gone", "i2"), ("kept", "i4")]), 0), "left": (np.int64, 0)})
    old.new()
    old["owner"][0] = (3, 77)
    part, layout = gather([old], 1)[0][0], json.loads(json.dumps(old.layout()))
    new = Table("things", {"owner": (np.dtype([("kept", "i8"), ("fresh", "f4")]), 0), "more": (np.int8, 3)})
    new.put(1, part, layout)

    assert new["owner"][0].item() == (77, 0.0)
    assert new["more"][0].tolist() == [0, 0, 0]


def test_a_pool_of_which_half_was_left_behind_is_laid_out_anew():
    """Words that are rewritten for ever take no more memory than twice what they are."""
    table, pool = things()
    for _ in range(8):
        table.new()
    for turn in range(4_000):
        row = turn % 8
        table["owner"]["words_len"][row] = 0
        words(table, pool, row, 10)

    assert len(pool.array) < 1_000
    assert [w for *_, w, _ in seen(table, pool)] == [list(range(10))] * 8


def test_tables_that_never_change_are_written_again_in_time():
    """Texts are written once and kept for ever: `low` rises all the same, as others are touched."""
    still, busy = (Table(name, {"x": (np.int64, 0)}) for name in ("still", "busy"))
    for table in (still, busy):
        for _ in range(1000):
            table.new()
    lows = []
    for g in range(1, 60):
        busy.touched[:100] = 1
        list(ahead([still, busy], g))
        lows.append(gather([still, busy], g)[1])

    assert lows[-1] > 59 - 25
    assert still.count[USED] == 1000


def test_a_table_whose_marks_grew_since_its_turn_is_copied_whole():
    """As of a model that is given rows while other tables are copied: nothing of it is left out, now or the next time."""
    first, models = (Table(name, {"value": (np.float64, 0)}) for name in ("rows", "models"))
    for table in (first, models):
        table.count[USED] = 2
        table.reserve(2)
        table.touched[:2] = 1
    slices = ahead([first, models], 1)
    assert next(slices).rows.tolist() == [0, 1]
    models.touched, models.count[USED] = grown(models.touched, 200), 150  # as `Judge` grows them
    models.touched[:150] = 1
    assert [row for part in slices for row in part.rows.tolist()] == list(range(150))
    assert not models.due()
