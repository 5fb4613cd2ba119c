"""Commands: what is refused, what follows from those that are known, and what of them is kept."""

import jsonschema
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.command.orders import expire, plan, promote, shadow, silence, when
from tests.dispatch.story import at

from anomaly.command import commands
from anomaly.command.command import BadCommand, Command, encode, published_schema, read
from anomaly.command.commands import Commands
from anomaly.state import Newer

SCHEMA = orjson.loads(published_schema())
WEB = {"environment": "prod", "group": "shop/web"}
ALL: list[Command] = [
    silence('group="shop/web"', start=0, end=100),
    plan('group="shop/web"', factor=8, start=0, end=100),
    promote("prod", 0),
    shadow("prod/shop/*", 0),
    expire(0),
]


@pytest.mark.parametrize("command", ALL, ids=lambda c: type(c).__name__)
def test_what_we_write_is_of_the_published_schema_and_is_read_back(command: Command):
    jsonschema.Draft202012Validator(SCHEMA).validate(orjson.loads(encode(command)))
    assert read(encode(command)) == command


def without(key: str, **more: object) -> bytes:
    """A silence with a key left out, or others put in."""
    given = orjson.loads(encode(ALL[0])) | more
    given.pop(key, None)
    return orjson.dumps(given)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"{}", "kind"),
        (b"\xff", "malformed"),
        (without("id"), "id"),
        (without("", kind="mute"), "kind"),
        (without("", stop="output"), "unknown field"),
        (without("", stops="paging"), "stops"),
        (without("", matchers=[]), "matchers: is missing"),
        (without("", matchers=["group="]), "matchers"),
        (without("", starts_at="2026-01-01T00:00:00"), "timezone"),
        (without("", ends_at=orjson.loads(encode(ALL[0]))["starts_at"]), "ends_at"),
        (without("", schema="anomaly.command/2"), "anomaly.command/2"),
        (orjson.dumps(orjson.loads(encode(ALL[1])) | {"factor": 0}), "factor"),
        (orjson.dumps(orjson.loads(encode(ALL[2])) | {"team": ""}), "team"),
        (without("", comment="x" * 100_000), "bytes"),
    ],
)  # fmt: skip
def test_a_command_that_nobody_can_follow_is_refused_with_its_reason(data: bytes, why: str):
    with pytest.raises(BadCommand, match=why):
        read(data)


def known(*given: Command) -> Commands:
    made = Commands()
    for command in given:
        made.take(command)
    return made


def test_a_silence_is_about_its_time_alone():
    """From its start on, up to before its end."""
    made = known(silence('group="shop/web"', start=0, end=100, stops="output"))
    assert [made.silence(WEB, at(t)) is not None for t in (-0.001, 0, 99.999, 100)] == [False, True, True, False]
    assert made.silence(WEB | {"group": "shop/pay"}, at(1)) is None


def test_what_stops_learning_alone_silences_nobody():
    made = known(silence('group="shop/web"', start=0, end=100, stops="learning"), ALL[1])
    assert made.silence(WEB, at(1)) is None
    assert [held.stops_learning for held in made.windows()] == [True, True]


def test_the_last_word_about_a_thing_counts():
    """A silence made longer, ended early, or ended before it began."""
    longer = silence('group="shop/web"', start=0, end=200, made=-30)
    assert known(ALL[0], longer).silence(WEB, at(150))
    assert not known(ALL[0], expire(50)).silence(WEB, at(51))
    assert known(ALL[0], expire(50)).silence(WEB, at(49))
    assert len(known(ALL[0], expire(-1))) == 0
    assert len(known(expire(50))) == 0


def test_the_last_switch_of_a_team_counts_from_its_time_on():
    """Whatever the order in which they came: they may come by several partitions."""
    given: list[Command] = [shadow("prod", 0), promote("prod/shop/*", 10), shadow("prod/shop/web", 20)]
    for order in (given, given[::-1]):
        switched = [known(*order).switched("prod", "shop/web", at(t)) for t in (-1, 0, 10, 20)]
        assert [type(s).__name__ for s in switched] == ["NoneType", "Shadow", "Promote", "Shadow"]
        assert known(*order).switched("stage", "shop/web", at(20)) is None


EVENTS = st.lists(st.sampled_from([
    silence('group="shop/web"', start=0, end=50, name="a"), silence('group=~"shop.*"', start=20, end=80, name="b"),
    expire(30, "a"), expire(40, "b"), promote("prod", 10), shadow("prod", 60), plan("pod=x", factor=2, start=5, end=15),
]), max_size=8)  # fmt: skip


@given(EVENTS, st.integers(0, 8))
def test_a_restart_forgets_nothing(given: list[Command], at_command: int):
    """Kept and loaded between any two commands, it answers as one that went on."""
    went_on, restarted = Commands(), Commands()
    for i, command in enumerate(given):
        if i == at_command:
            before, restarted = restarted, Commands()
            restarted.load(before.dump())
        for each in (went_on, restarted):
            each.take(command)
        assert went_on.turned(at(10.0 * i)) == restarted.turned(at(10.0 * i))
    assert went_on.dump() == restarted.dump()
    for t in range(0, 90, 10):
        assert went_on.silence(WEB, at(t)) == restarted.silence(WEB, at(t))


@given(EVENTS)
def test_a_command_that_comes_twice_means_the_same(given: list[Command]):
    once, twice = known(*given), known(*given, *given)
    assert once.all() == twice.all() or any(type(c).__name__ == "Expire" for c in given)
    assert known(*given).all() == known(*[c for one in given for c in (one, one)]).all()


def test_somebody_is_told_that_something_has_turned_once():
    """Minutes after one ended, or a team was switched; at once where that is long ago by the time that one hears of it."""
    made = known(silence('group="shop/web"', start=0, end=50))
    assert [made.turned(at(t)) for t in (0, 50, 109, 110, 111, 349, 350)] == 3 * [False] + [True, False, False, True]
    made.take(promote("prod", 370))
    assert [made.turned(at(t)) for t in (400, 429, 430, 431)] == [False, False, True, False]
    made.take(shadow("prod", 371))
    assert [made.turned(at(t)) for t in (431, 431, 450)] == [True, False, False]


def test_what_is_over_is_forgotten_after_a_day_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "MOST", 2)
    made = known(silence('group="a"', start=0, end=50, name="a"), silence('group="b"', start=0, end=90_000, name="b"))
    assert not made.take(silence('group="c"', start=0, end=50, name="c"))
    assert made.take(silence('group="b"', start=0, end=90_001, name="b"))
    made.turned(at(86_449))
    assert len(made) == 2
    made.turned(at(86_450))
    assert len(made) == 1
    assert made.take(silence('group="c"', start=0, end=50, name="c"))


def test_what_a_later_version_kept_stops_the_start():
    kept = msgspec.msgpack.decode(known(ALL[0]).dump())
    with pytest.raises(Newer):
        Commands().load(msgspec.msgpack.encode(kept | {"version": 2}))


def test_times_are_of_the_data_to_the_millisecond():
    assert read(encode(silence('group="a"', start=0.001, end=1))).starts_at == when(0.001)  # type: ignore[union-attr]
