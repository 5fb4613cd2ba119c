"""Rows of a plain table, `time,number,number`, scanned into columns; quotes are not known here.

text uint8 (m,) is the table without its header. For each of its n lines are written
begin, past int64 (n,)   where the line stands, its end left out
form  uint8 (n,)         EMPTY, SCANNED, or LEFT to be read by the complete reader
time  int64 (n,)         milliseconds since the epoch
value float64 (n, c)     NaN for an empty cell
"""

import numpy as np

from anomaly.compiled import bare, kernel
from anomaly.decode.decimal_scan import decimal
from anomaly.decode.text_scan import NEVER, moment

EMPTY, SCANNED, LEFT = 0, 1, 2

COMMA, LINE_FEED, RETURN = 44, 10, 13


@bare
def until(byte, text, at, end):  # type: ignore[no-untyped-def]
    """Where the next such byte stands, or `end`."""
    while at < end and text[at] != byte:
        at += 1
    return at


@bare
def cells(text, at, end, value):  # type: ignore[no-untyped-def]
    """Read the numbers that fill [at, end), each after a comma, into `value` (c,); False if they are not c numbers."""
    for c in range(value.size):
        if at == end:
            return False
        stop = until(COMMA, text, at + 1, end)
        value[c], good = decimal(text, at + 1, stop)
        if not good and stop > at + 1:
            return False
        at = stop
    return at == end


@kernel
def scan(text, begin, past, form, time, value):  # type: ignore[no-untyped-def]
    """Scan every line; all columns are written."""
    at, read = 0, np.full(3, NEVER)
    for i in range(begin.size):
        stop = until(LINE_FEED, text, at, text.size)
        end = stop - (stop > at and text[stop - 1] == RETURN)
        begin[i], past[i], form[i] = at, end, EMPTY
        if end > at:
            comma = until(COMMA, text, at, end)
            time[i] = moment(text, at, comma, read)
            form[i] = SCANNED if time[i] != NEVER and cells(text, comma, end, value[i]) else LEFT
        at = stop + 1
