"""What the scanner of OTLP metrics writes, and what its parts share.

out       uint64 (FIELDS, n)  a column per field below; VALUE and COUNT hold the bits of a float64, NaN: not given;
                              times in ms; AT and END delimit the point's message in the buffer
buckets   float64 (m,)        bucket counts; BUCKET_AT and BUCKET_LEN delimit a point's
used      int64 (2,)          how much of each is filled
The wire key is a seeded hash of everything that makes a series; attributes are added up, so that their order is nothing.
DETAIL is set where one message makes several series: the bits of the quantile for a gauge of a summary, and the canonical
scale, counted from COARSEST, for an exponential histogram.
"""

import numpy as np

WIRE, TIME, START, VALUE, COUNT, KIND, FLAGS, BUCKET_AT, BUCKET_LEN, CONTEXT, AT, END, DETAIL = range(13)
FIELDS = 13
POINTS, BUCKETS = range(2)

# A point that is one has a tag, a length, and a time of nine bytes. More points than that are empty messages, of which a
# small record could hold millions.
LEAST_POINT = 11
# The bucket counts of one record: an exponential point of a dozen bytes can stand for 130 of them.
MOST_BUCKETS = 8_000_000

# What becomes of a point, and of its record. The first three as in `otlp_outline`; the others ask for more room.
OK, REFUSED, FLOOD, FEW_POINTS, FEW_BUCKETS = range(5)

NO, ONE, NAN = np.uint64(0), np.uint64(1), np.float64(np.nan).view(np.uint64)
MILLISECOND = np.uint64(1_000_000)
