"""The state of a partition as rows of plain arrays, one dtype per thing that is counted.

row        a series as it was sent: what the next point is converted against. `last` ms of its newest point, 0 before the
           first; `interval` ms, a running average of its spacing; `judged` the judged row it feeds itself, -1: none;
           `members` heads the chain of its memberships. One line of memory. `family` and `histogram` are -1 where a
           series has none: the one is for what counts, the other for histograms. `writer` is the elected one of
           several senders (`writer.code`), 0: not named.
label      who a row is: its text (what `decode.identity.pack` wrote, without environment and group, which the row's group
           has), `kin` the key of the series that differ by instance alone, `sibling` the one of those announced before;
           `scope` where it is counted.
histogram  `count` and the first `used` buckets of a histogram's last point; `row` whose it is.
member     a row's part in an aggregate: `next_of_row` and `next_of_agg` chain them, -1 ends. `gained` and `summed` are its
           last contributions per second, which stand in for it while it is late. `role` says what it adds and where.
           `peer` is 1 + the row of its instance among `peers.PEER`, 0: not looked up; `counts` and `sums` are what it
           contributed since that was last compared.
aggregate  a group's sum on a time grid: `step` ms, 0 until the members' interval is known; `first` the number of the oldest
           open cell (cell c covers the milliseconds (c * step, (c + 1) * step]); `pending` members have not passed it yet.
           CELLS cells of `width` lanes are open at a time: seconds covered (of a distribution: observations that count in
           its rate alone), amount, second amount (a histogram's sum, the errors of a total), then bucket counts. `bounds`
           are those buckets' upper bounds, rising, and their lanes. `fewest` observations make a mean. Its text is that of a
           member; `labelled` and `instanced` say what of it holds for all. `least` ms that a cell has at least, 0: as its
           members come; `asked`: it counts requests; `unknown`: members whose gain is not known, since a cell was closed.
           `judged` (4,) are the rows that judge it, by QUANTITIES, -1: none. `fleet`: its instances are compared with one
           another, -1: from now on, else 1 + the row of `peers.FLEET`; `compared` ms when they last were.
group      who is watched for silence: `last` ms, `arrivals` of separate moments, `alive` rows without a stale marker;
           `source` and `through` the numbers of the source and of the input that it came by; `seen` ms and `active` ms of
           the source's clock when it was last found to have been heard; `spread` not 0: a giant, of which other partitions
           hold a part. `busy` ms when it was last asked anything; `asleep` 1: it is silent, 2: and was idle; `naps` of
           this kind it has woken up from, and `nap` ms that the longest was; `woke` ms when it last did from any
           silence. Its text is environment and group.
site       a series of a spec with `sites`, watched as a group is (`sites`); `owner` 1 + its row.
family     the series of one metric of one instance, which are exported together: `last` and `before` are the ms of its
           two newest exports, so that a series first seen now is known to have counted from the export before; `born` the
           first, 0: not known.
scope      an environment, or a metric in one (`above` is then the environment's): `rows` series in it, `refused` ones past a
           limit. `key` 0: free, and `above` the next free one.
subject    what a judged row is about: `of` the row of a series, or of an aggregate if `whole`; `quantity` of QUANTITIES;
           `withheld`: not learned yet; `runs`: whether it was met idle, or running (`runs`).
fleet      the instances of an aggregate: `key` the aggregate's, `agg` its row; `quantile` and `excess` the tail (`tail`) of
           how far one of them is off its peers.
peer       one instance of a fleet (`of` the fleet's key): `a`, `b` what it said of late (`peers`), `w` the seconds for
           which, both fading; `known` seconds that it was heard, `last` ms when; `looked` ms when it was last compared. Its
           episode: `started` ms, `score` greatest so far, of which it was spoken at `spoken`, `observed` the value there,
           `lasted` and `calm` seconds, `phase`, `side`. `row` one of its series.
golden     the golden signals of a group (`joint`): `key` the group's, `minute` the number of the one under way; by signal
           `z` the signed surprises of its values added up, `n` how many, `beyond` how far each is in what must be felt;
           `newest` of them of the traffic, `past` its part of the minute before; `scale` mean squares and `along` mean
           products of such parts, of `seen` seconds; `quantile` and `excess` the tail of their joint distance. Its episode
           as a peer's.

Times are int64 ms since the epoch, spacings ms, amounts in the unit of the series. A `key` is a seeded 64-bit hash of who a
thing is; 0 in a row that is free.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from anomaly.detect.anomaly import LEFT
from anomaly.detect.frozen import FROZEN
from anomaly.detect.runs import RUN
from anomaly.pool import Pool
from anomaly.table import Table

CELLS = 8
LANES = 3  # before the buckets: seconds covered, amount, second amount

# What a member adds to its aggregate.
AMOUNT, HISTOGRAM, TOTAL, ERROR = 0, 1, 2, 3

# Cells of LONG ms beside a service's usual ones hold enough where requests are few; the label tells the two apart.
LONG, LONG_LABEL = 600_000, ("window", "10m")

# How a closed cell is read.
SUM, MEAN, DISTRIBUTION, RATIO = 0, 1, 2, 3

# What is judged: of a histogram the first four, in the order of `quantile.read`.
QUANTITIES = ("rate", "mean", "p95", "p99", "value", "error ratio", LEFT)
RATE, VALUE, ERRORS, UNTIL = 0, 4, 5, 6

ROW = np.dtype(
    [
        ("last", "i8"), ("start", "i8"), ("value", "f8"), ("key", "u8"), ("interval", "f4"), ("judged", "i4"),
        ("members", "i4"), ("group", "i4"), ("family", "i4"), ("histogram", "i4"), ("intervals", "u1"), ("primed", "u1"),
        ("stale", "u1"), ("fresh", "u1"), ("ignored", "u1"), ("alive", "u1"), ("delta", "u1"), ("writer", "u1"),
    ]
)  # fmt: skip
LABEL = np.dtype([("kin", "u8"), ("text_at", "u4"), ("text_len", "u4"), ("sibling", "i4"), ("scope", "i4")])
BUCKETS = np.dtype(
    [("count", "f8"), ("buckets_at", "i8"), ("buckets_len", "i4"), ("used", "i4"), ("row", "i4"), ("spare", "u4")]
)
MEMBER = np.dtype(
    [
        ("gained", "f8"), ("summed", "f8"), ("row", "i4"), ("agg", "i4"), ("next_of_row", "i4"), ("next_of_agg", "i4"),
        ("lane", "i4"), ("role", "u1"), ("counted", "u1"), ("resolved", "u1"), ("spare", "u1"), ("peer", "i4"),
        ("counts", "f4"), ("sums", "f4"),
    ]
)  # fmt: skip
AGGREGATE = np.dtype(
    [
        ("step", "i8"), ("first", "i8"), ("newest", "i8"), ("lateness", "i8"), ("key", "u8"), ("lanes_at", "i8"),
        ("bounds_at", "i8"), ("text_at", "i8"), ("lanes_len", "i4"), ("bounds_len", "i4"), ("text_len", "i4"),
        ("width", "i4"), ("head", "i4"), ("pending", "i4"), ("group", "i4"), ("fewest", "f4"), ("reading", "u1"),
        ("cumulated", "u1"), ("delta", "u1"), ("labelled", "u1"), ("instanced", "u1"), ("asked", "u1"), ("unknown", "u2"),
        ("least", "i8"), ("compared", "i8"), ("fleet", "i4"), ("spared", "u4"),
    ]
)  # fmt: skip
BOUND = np.dtype([("upper", "f8"), ("lane", "i4"), ("spare", "u4")])
GROUP = np.dtype(
    [
        ("last", "i8"), ("since", "i8"), ("back", "i8"), ("usual", "f8"), ("seen", "i8"), ("active", "f8"), ("key", "u8"),
        ("text_at", "i8"), ("text_len", "i4"), ("arrivals", "i4"), ("alive", "i4"), ("source", "i4"), ("through", "i4"),
        ("rows", "i4"), ("watched", "u1"), ("open", "u1"), ("spread", "u1"), ("asleep", "u1"), ("naps", "u4"),
        ("busy", "i8"), ("nap", "f8"), ("woke", "i8"),
    ]
)  # fmt: skip
OF_GROUP = ("last", "since", "back", "usual", "seen", "active", "arrivals", "alive", "source", "through", "open",
            "spread", "asleep", "naps", "busy", "nap", "woke")  # fmt: skip  # what goes along where it is moved to
FAMILY = np.dtype([("last", "i8"), ("before", "i8"), ("born", "i8"), ("key", "u8"), ("rows", "i4"), ("next", "i4")])
SUBJECT = np.dtype([("of", "i4"), ("whole", "u1"), ("quantity", "u1"), ("withheld", "u1"), ("runs", "u1")])
FLEET = np.dtype([("key", "u8"), ("agg", "i4"), ("chain", "i4"), ("quantile", "f4"), ("excess", "f4")])
TOLD = [
    ("started", "i8"), ("score", "f4"), ("spoken", "f4"), ("observed", "f4"), ("lasted", "f4"), ("calm", "f4"),
    ("phase", "i1"), ("side", "i1"), ("rest", "u2"),
]  # fmt: skip
PEER = np.dtype(
    [
        ("key", "u8"), ("of", "u8"), ("last", "i8"), ("looked", "i8"), ("fleet", "i4"), ("row", "i4"), ("a", "f4"),
        ("b", "f4"), ("w", "f4"), ("known", "f4"), *TOLD,
    ]
)  # fmt: skip
SIGNALS = 4  # latency, traffic, errors, saturation
PAIRS = SIGNALS * (SIGNALS - 1) // 2
GOLDEN = np.dtype(
    [
        ("key", "u8"), ("minute", "i8"), ("z", "f4", (SIGNALS,)), ("n", "f4", (SIGNALS,)), ("beyond", "f4", (SIGNALS,)),
        ("scale", "f4", (SIGNALS,)), ("along", "f4", (PAIRS,)), ("newest", "f4"), ("past", "f4"), ("seen", "f4"),
        ("quantile", "f4"), ("excess", "f4"), ("chain", "i4"), *TOLD,
    ]
)  # fmt: skip
SCOPE = np.dtype([("key", "u8"), ("text_at", "i8"), ("text_len", "i4"), ("above", "i4"), ("rows", "i4"), ("refused", "i4")])


class State(NamedTuple):
    """What the kernels read and write; all by row but the pools `lanes` and `buckets`. `touched` as in `table.Table`."""

    rows: NDArray[Any]
    members: NDArray[Any]
    aggregates: NDArray[Any]
    groups: NDArray[Any]
    families: NDArray[Any]
    histograms: NDArray[Any]
    lanes: NDArray[np.float64]  # open cells of the aggregates
    buckets: NDArray[np.float64]  # last bucket counts
    touched_rows: NDArray[np.uint8]
    touched_members: NDArray[np.uint8]
    touched_aggregates: NDArray[np.uint8]
    touched_groups: NDArray[np.uint8]
    touched_families: NDArray[np.uint8]
    touched_histograms: NDArray[np.uint8]


class Tables:
    """All that is kept of the series of a partition, but for their models."""

    def __init__(self) -> None:
        self.lanes, self.buckets = Pool("lanes", "aggregate", np.float64), Pool("buckets", "histogram", np.float64)
        self.bounds = Pool("bounds", "aggregate", BOUND)
        self.label_text, self.group_text = Pool("text", "label", np.uint8), Pool("text", "group", np.uint8)
        self.aggregate_text = Pool("text", "aggregate", np.uint8)
        pools = (self.lanes, self.bounds, self.aggregate_text)
        self.rows = Table("rows", {"row": (ROW, 0)}, (), ("row", "members"))
        self.labels = Table("labels", {"label": (LABEL, 0)}, (self.label_text,))
        self.labels.count = self.rows.count  # the same rows
        self.histograms = Table("histograms", {"histogram": (BUCKETS, 0)}, (self.buckets,), ("histogram", "row"))
        self.members = Table("members", {"member": (MEMBER, 0)}, (), ("member", "next_of_row"))
        columns: dict[str, tuple[DTypeLike, int]] = {"aggregate": (AGGREGATE, 0), "judged": (np.int32, 4)}
        self.aggregates = Table("aggregates", columns, pools, ("aggregate", "head"))
        self.groups = Table("groups", {"group": (GROUP, 0)}, (self.group_text,), ("group", "source"))
        self.families = Table("families", {"family": (FAMILY, 0)}, (), ("family", "next"))
        self.subjects = Table("subjects", {"subject": (SUBJECT, 0)}, (), ("subject", "of"))
        self.scope_text = Pool("text", "scope", np.uint8)
        self.scopes = Table("scopes", {"scope": (SCOPE, 0)}, (self.scope_text,), ("scope", "above"))
        self.fleets = Table("fleets", {"fleet": (FLEET, 0)}, (), ("fleet", "chain"))
        self.peers = Table("peers", {"peer": (PEER, 0)}, (), ("peer", "row"))
        self.golden = Table("golden", {"golden": (GOLDEN, 0)}, (), ("golden", "chain"))
        self.frozen = Table("frozen", {"frozen": (FROZEN, 0)}, (), ("frozen", "free"))  # by judged row that has a baseline
        self.runs = Table("runs", {"run": (RUN, 0)}, (), ("run", "free"))  # by judged row that began to run once
        sites: dict[str, tuple[DTypeLike, int]] = {"site": (GROUP, 0), "owner": (np.int32, 0)}
        self.sites = Table("sites", sites, (), ("site", "source"))  # by series of a check
        self.refused = Table("refused", {"key": (np.uint64, 0)})  # series that were announced past a limit

    def all(self) -> tuple[Table, ...]:
        """Every table, in the order in which they are written."""
        whole = self.rows, self.labels, self.histograms, self.members, self.aggregates
        others = self.groups, self.families, self.subjects, self.scopes, self.refused, self.frozen
        return *whole, *others, self.fleets, self.peers, self.golden, self.runs, self.sites

    def state(self) -> State:
        """The arrays as they are now."""
        held = self.rows, self.members, self.aggregates, self.groups, self.families, self.histograms
        names = "row", "member", "aggregate", "group", "family", "histogram"
        arrays = [table[name] for table, name in zip(held, names, strict=True)]
        return State._make([*arrays, self.lanes.array, self.buckets.array, *(table.touched for table in held)])


class Cells(NamedTuple):
    """Closed cells as the kernels hand them out, and what members said where they are compared, a row each: `gained` and
    `summed` as in `member`. `used` is (cells, lanes, members)."""

    agg: NDArray[np.int32]
    end: NDArray[np.int64]  # ms
    point: NDArray[np.int64]  # position in the batch of the point that closed it
    at: NDArray[np.int64]
    lanes: NDArray[np.float64]
    used: NDArray[np.int64]
    shown: NDArray[np.void]  # SHOWN


# What a member said when its aggregate was compared, `seconds` after it last was: at the end of cell `end`, found at point
# `point` of the batch.
SHOWN = np.dtype(
    [
        ("end", "i8"), ("point", "i8"), ("gained", "f8"), ("summed", "f8"), ("seconds", "f8"), ("agg", "i4"),
        ("member", "i4"),
    ]
)  # fmt: skip


def cells(count: int, lanes: int, shown: int = 0) -> Cells:
    """Room for `count` closed cells of `lanes` lanes altogether, and for `shown` members."""
    return Cells(
        np.zeros(count, np.int32),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.zeros(lanes),
        np.zeros(3, np.int64),
        np.zeros(shown, SHOWN),
    )
