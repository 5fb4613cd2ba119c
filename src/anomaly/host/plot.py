"""A series as inline SVG: its line, usual band, episodes, labelled windows and alerts. No script, nothing loaded.

Times are milliseconds since the epoch. A line keeps the least and the greatest value of every pixel column, so that no
spike is lost to the drawing, and breaks where the series was silent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Track = tuple[NDArray[np.int64], NDArray[np.float64]]  # time [ms since the epoch], value
Band = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]  # time, low, high; NaN where none is known

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 1100, 64, 12, 10, 22
COLUMNS = WIDTH - LEFT - RIGHT
SMALL = 100  # pixels of height: a lower drawing has few values, and no times, at its axes
SILENT = 6  # usual intervals without a point end a line
STEPS = tuple(s * 1000 for s in (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
                                 1_209_600, 2_592_000, 7_776_000, 31_536_000))  # fmt: skip

FORMS = ((5 * 86_400_000, "%Y-%m-%d"), (36_000_000, "%d %b %H:%M"), (600_000, "%H:%M"))  # drawings longer than (ms): so


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time to shade; `low` and `high` make it a band of values. `say` is shown when pointed at."""

    start: int
    end: int
    look: str  # CSS class: episode, window, frozen
    say: str = ""
    low: float | None = None
    high: float | None = None


class Mark(NamedTuple):
    """A moment to point out: an alert; `look` is its event (trigger, update, resolve)."""

    time: int
    look: str
    say: str


@dataclass(frozen=True, slots=True)
class Frame:
    """Where times and values lie on the drawing."""

    start: int
    end: int
    low: float
    high: float
    height: int
    ticks: list[float] = field(default_factory=list)

    def x(self, time: float) -> float:
        """Pixels from the left; outside the frame it is on its edge."""
        share = (min(max(time, self.start), self.end) - self.start) / max(self.end - self.start, 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)


def plot(
    track: Track,
    spans: Sequence[Span],
    marks: Sequence[Mark],
    name: str,
    height: int = 170,
    band: Band | None = None,
    level: float | None = None,
) -> str:
    """The drawing; `marks` are alerts, `level` the score that an alert needs. `name` is read aloud in its place."""
    times, values = finite(track)
    usual = known(band)
    frame = framed(times, values, [*edges(spans), *bulk(usual), *([level] if level is not None else [])], height)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(name)}">',
        *(f'<polygon class="band" points="{area}"/>' for area in areas(usual, frame)),
        *(shade(s, frame) for s in spans if s.end >= frame.start and s.start <= frame.end),
        *axes(frame),
        *(threshold(level, frame) if level is not None else []),
        *(f'<polyline class="line" points="{run}"/>' for run in runs(times, values, frame)),
        *(mark(m, frame) for m in marks if frame.start <= m.time <= frame.end),
        "</svg>",
    ]
    return "".join(parts)


def finite(track: Track) -> Track:
    """The points that can be drawn, in the order of time."""
    times, values = track
    good = np.isfinite(values)
    order = np.argsort(times[good], kind="stable")
    return times[good][order], values[good][order]


def known(band: Band | None) -> Band:
    """The part of a band that can be drawn, in the order of time."""
    if band is None:
        return np.zeros(0, np.int64), np.zeros(0), np.zeros(0)
    times, low, high = band
    good = np.isfinite(low) & np.isfinite(high)
    order = np.argsort(times[good], kind="stable")
    return times[good][order], low[good][order], high[good][order]


def edges(spans: Sequence[Span]) -> list[float]:
    """The values that spans end at."""
    return [v for s in spans for v in (s.low, s.high) if v is not None and np.isfinite(v)]


def bulk(band: Band) -> list[float]:
    """Where nearly all of a band lies; while a model is young its band may be anything."""
    times, low, high = band
    return [float(np.quantile(low, 0.05)), float(np.quantile(high, 0.95))] if times.size else []


def framed(times: NDArray[np.int64], values: NDArray[np.float64], others: list[float], height: int) -> Frame:
    """A frame that holds all points, and other values as far as they do not crush the points."""
    if not times.size:
        return Frame(0, 1, 0.0, 1.0, height, [0.0, 1.0])
    low, high = float(values.min()), float(values.max())
    reach = (high - low) or abs(high) or 1.0
    low = min([low, *(v for v in others if v >= low - reach)])
    high = max([high, *(v for v in others if v <= high + reach)])
    ticks = round_ticks(low, high, 4 if height > SMALL else 1)
    pad = 0.04 * (high - low) or 0.5 * (abs(high) or 1.0)
    return Frame(int(times[0]), int(times[-1]), low - pad, high + pad, height, ticks)


def round_ticks(low: float, high: float, steps: int = 4) -> list[float]:
    """Round numbers from low to high, about so many steps apart."""
    if not high > low:
        return [low]
    raw = (high - low) / steps
    size = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m * size for m in (1, 2, 5, 10) if m * size >= raw))
    return [float(f"{t:.10g}") for t in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]


def axes(frame: Frame) -> list[str]:
    """Grid lines with their values and times."""
    parts = []
    for value in frame.ticks:
        y = frame.y(value)
        parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)}</text>')
    for time in time_ticks(frame.start, frame.end):
        x = frame.x(time)
        parts.append(f'<path class="grid" d="M{x:.1f} {TOP}V{frame.height - BOTTOM}"/>')
        if frame.height <= SMALL:  # it stands below one that has the same times
            continue
        label = clock(time, frame.end - frame.start)
        anchor = "end" if x > WIDTH - 40 else "middle"
        parts.append(f'<text class="tick" x="{x:.1f}" y="{frame.height - 6}" text-anchor="{anchor}">{label}</text>')
    return parts


def threshold(level: float, frame: Frame) -> list[str]:
    """The line of a score from which on there may be an alert, and what it is."""
    y = frame.y(level)
    return [
        f'<path class="level" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>',
        f'<text class="tick" x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(level)}</text>',
        f'<text class="tick" x="{LEFT + 4}" y="{y - 4:.1f}">score</text>',
    ]


def time_ticks(start: int, end: int) -> list[int]:
    """At most nine times that a clock or a calendar would show."""
    step = next((s for s in STEPS if (end - start) / s <= 9), STEPS[-1])
    return list(range(-(-start // step) * step, end + 1, step))


def clock(time: int, length: int) -> str:
    """A time as short as the length of the whole drawing (ms) allows."""
    moment = datetime.fromtimestamp(time / 1000, UTC)
    form = next((f for least, f in FORMS if length > least), "%H:%M:%S")
    return moment.strftime(form)


def number(value: float) -> str:
    """A value as an axis shows it."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.4g} {letter}"
    return f"{value:.4g}"


def runs(times: NDArray[np.int64], values: NDArray[np.float64], frame: Frame) -> list[str]:
    """The line's stretches without a silence, as lists of pixels."""
    drawn = []
    for own in unbroken(times):
        kept = own[extremes(times[own], values[own], frame)]
        pixels = [f"{frame.x(float(times[i])):.1f},{frame.y(float(values[i])):.1f}" for i in kept]
        drawn.append(" ".join(pixels if len(pixels) > 1 else pixels * 2))
    return drawn


def extremes(times: NDArray[np.int64], values: NDArray[np.float64], frame: Frame) -> NDArray[np.intp]:
    """Indices of the least and the greatest value of each pixel column, in order of time."""
    if times.size <= 2 * COLUMNS:
        return np.arange(times.size)
    both = [(a + int(values[a:b].argmin()), a + int(values[a:b].argmax())) for a, b in columns(times, frame)]
    return np.unique(np.array(both, np.intp))


def columns(times: NDArray[np.int64], frame: Frame) -> list[tuple[int, int]]:
    """Which of the points, from and to, lie in each pixel column that has some."""
    column = ((times - frame.start) * COLUMNS) // max(frame.end - frame.start, 1)
    begins = np.flatnonzero(np.diff(column, prepend=column[0] - 1)).tolist()
    return list(zip(begins, [*begins[1:], times.size], strict=True))


def areas(band: Band, frame: Frame) -> list[str]:
    """The band's stretches without a silence, each as a polygon: along its upper edge, and back along the lower."""
    times, low, high = band
    drawn = []
    for own in unbroken(times):
        t, a, b = times[own], low[own], high[own]
        if t.size > 2 * COLUMNS:
            parts = columns(t, frame)
            t, a, b = (np.array([each[i:j].mean() for i, j in parts]) for each in (t, a, b))
        upper = [f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in zip(t.tolist(), b.tolist(), strict=True)]
        lower = [f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in zip(t.tolist(), a.tolist(), strict=True)]
        drawn.append(" ".join([*upper, *reversed(lower)]))
    return drawn


def unbroken(times: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    """Indices of the stretches without a silence."""
    if not times.size:
        return []
    usual = float(np.median(np.diff(times))) if times.size > 1 else 0.0
    return np.split(np.arange(times.size), np.flatnonzero(np.diff(times) > SILENT * usual) + 1)


def shade(span: Span, frame: Frame) -> str:
    """A span as a rectangle: of its band of values, or over the whole height."""
    x, wide = frame.x(span.start), max(frame.x(span.end) - frame.x(span.start), 2.0)
    top, floor = float(TOP), float(frame.height - BOTTOM)
    if span.low is not None and span.high is not None:
        top, floor = frame.y(span.high), frame.y(span.low)
    say = f"<title>{escape(span.say)}</title>" if span.say else ""
    box = f'x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{max(floor - top, 1.5):.1f}"'
    return f'<rect class="{span.look}" {box}>{say}</rect>'


def mark(alert: Mark, frame: Frame) -> str:
    """An alert: a small triangle on the upper edge and a line below it."""
    x, floor = frame.x(alert.time), frame.height - BOTTOM
    path = f"M{x:.1f} {TOP + 8}l-5 -8h10zV{floor}"
    return f'<path class="mark {alert.look}" d="{path}"><title>{escape(alert.say)}</title></path>'
