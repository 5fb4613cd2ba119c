"""Numbers as a person reads them: scaled units, two or three digits, a band in one unit.

Units are those of UCUM as OpenTelemetry writes them (`s`, `By`, `1`, `{request}`, `By/s`), and where none is given, the base
unit at the end of a Prometheus metric's name. NaN, None and infinities are bounds that are not known.
"""

import math
import unicodedata
from collections.abc import Iterable

RATIO = "ratio"  # unit 1 where it is a share: shown in percent
TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {"By": 1.0, "kBy": 1e3, "MBy": 1e6, "GBy": 1e9, "KiBy": 2.0**10, "MiBy": 2.0**20, "GiBy": 2.0**30}
NAMES = {"Cel": " °C", "%": " %", "1": ""}
SUFFIXES = {"seconds": "s", "milliseconds": "ms", "bytes": "By", "ratio": RATIO, "utilization": RATIO, "percent": "%"}

# From which size on (in seconds, bytes, ones) which unit is used, and its own size.
TIME_STEPS = ((180.0, 60.0, " min"), (1.0, 1.0, " s"), (1e-3, 1e-3, " ms"), (1e-6, 1e-6, " µs"), (0.0, 1e-9, " ns"))
BYTE_STEPS = (
    (2.0**40, 2.0**40, " TiB"),
    (2.0**30, 2.0**30, " GiB"),
    (2.0**20, 2.0**20, " MiB"),
    (2.0**10, 2.0**10, " KiB"),
    (0.0, 1.0, " B"),
)
PLAIN_STEPS = ((1e10, 1e9, " G"), (1e6, 1e6, " M"), (1e5, 1e3, " k"), (0.0, 1.0, ""))
SPANS = ((86_400.0, "d", 3600.0, "h"), (3600.0, "h", 60.0, "min"), (60.0, "min", 1.0, "s"))
NOTHING = 1e-6  # of a value
BARS = "▁▂▃▄▅▆▇█"

Bound = float | None
Scale = tuple[float, str]  # how much of the unit one shown is, and what stands behind the number


def unit_of(unit: str, metric: str, quantity: str) -> str:
    """The unit by which a value is shown."""
    named = next((u for suffix, u in SUFFIXES.items() if metric.removesuffix("_total").endswith(suffix)), "")
    if quantity == "error ratio" or (unit in ("1", "") and named == RATIO):
        return RATIO
    return unit or (named if quantity != "rate" else "/s")


def compared(value: float, low: Bound, high: Bound, unit: str) -> tuple[str, str]:
    """A value and its band, with as many digits as it takes to tell the value from the bounds."""
    low, high = beside(low, value), beside(high, value)
    for more in range(4):
        shown = amount(value, unit, more)
        if all(shown != amount(b, unit, more) for b in (low, high) if known(b) and b != value):
            break
    return shown, band(low, high, unit, more)


def beside(bound: Bound, value: float) -> Bound:
    """The bound, 0 where it is nothing beside the value: nobody reads 4.6e-12 bytes."""
    return 0.0 if bound is not None and abs(bound) < NOTHING * abs(value) else bound


def amount(value: Bound, unit: str, more: int = 0) -> str:
    """`512 ms`, `31 %`, `3.2/s`, `1.5 GiB`; `more` digits where two or three do not tell enough."""
    if value is None or not math.isfinite(value):
        return "unknown"
    size, name = scale(value, unit)
    return digits(value / size, more) + name


def band(low: Bound, high: Bound, unit: str, more: int = 0) -> str:
    """`18–31 ms`: both bounds in the unit of the larger one."""
    if not known(low) or not known(high):
        side = f"at least {amount(low, unit, more)}" if known(low) else f"at most {amount(high, unit, more)}"
        return side if known(low) or known(high) else "not known yet"
    size, name = scale(max(abs(low or 0.0), abs(high or 0.0)), unit)
    first, last = (digits((b or 0.0) / size, more) for b in (low, high))
    if first == last:
        return last + name
    return f"{first} to {last}{name}" if first.startswith("-") else f"{first}–{last}{name}"


def known(bound: Bound) -> bool:
    """Whether it is a number."""
    return bound is not None and math.isfinite(bound)


def scale(value: float, unit: str) -> Scale:
    """By what to divide a value of this size, and the unit's name then."""
    unit, per, time = unit.partition("/")
    behind = per + time
    if unit == RATIO:
        return 0.01, " %" + behind
    if unit in TIME and not per:
        return step(value, TIME[unit], TIME_STEPS)
    if unit in BYTES:
        size, name = step(value, BYTES[unit], BYTE_STEPS)
        return size, name + behind
    size, name = step(value, 1.0, PLAIN_STEPS)
    own = "" if unit.startswith("{") else NAMES.get(unit, f" {plain(unit, 20)}" if unit else "")
    return size, name + own + behind


def step(value: float, unit: float, steps: Iterable[tuple[float, float, str]]) -> Scale:
    """The unit of `steps` that fits a value of so many of `unit`; zero is shown in the unit itself."""
    size = abs(value) * unit or unit
    return next((own / unit, name) for least, own, name in steps if size >= least)


def digits(number: float, more: int = 0) -> str:
    """Two or three significant digits; whole numbers in full."""
    size = abs(number)
    if size >= 1e7:  # larger than any unit we know
        return f"{number:.{2 + more}g}"
    if size >= 10 and (more == 0 or number == round(number)):
        return f"{number:,.0f}"
    if 0 < size < 1e-3:
        return f"{number:.{2 + more}g}"
    places = more + (0 if size >= 10 else 1 if size >= 1 else 2 if size >= 0.1 else 3)
    text = f"{number:,.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def span(seconds: float) -> str:
    """A duration in the one or two units that a person would say."""
    if not math.isfinite(seconds):
        return "an unknown time"
    if seconds < 60:
        return f"{digits(max(seconds, 0.0)) if seconds < 1 else round(seconds)} s"
    if seconds >= 2 * 86_400:
        return f"{round(seconds / 86_400)} days"
    s = round(seconds)
    size, unit, small, part = next(row for row in SPANS if s >= row[0])
    rest = int(s % size // small)
    return f"{int(s // size)} {unit} {rest} {part}" if rest else f"{int(s // size)} {unit}"


def sparkline(values: Iterable[float], low: Bound, high: Bound) -> str:
    """The last values as bars, from the least to the greatest of them and of the band."""
    held = [v for v in values if math.isfinite(v)]
    ends = [*held, *(b for b in (low, high) if b is not None and math.isfinite(b))]
    if not held:
        return ""
    floor, height = min(ends), max(ends) - min(ends)
    return "".join(
        BARS[int((v - floor) / height * (len(BARS) - 1) + 0.5)] if 0 < height < math.inf else BARS[0] for v in held
    )


def plain(text: str, limit: int) -> str:
    """Text from telemetry, fit to be shown: no control, formatting or surrogate characters, and no longer than `limit`."""
    clean = "".join(" " if c in "\t\n\r\u2028\u2029" else c for c in text[: 4 * limit])
    clean = "".join(c for c in clean if unicodedata.category(c)[0] != "C")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
