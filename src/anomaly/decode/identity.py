"""Who a series is: environment, group, instance and the labels that make it itself.

A sender's attributes (resource, scope, point; or Prometheus labels, Telegraf tags) are sorted by configuration into five
roles. `environment` and `group` place the series; `instance` labels name which copy of the group it is, and change at
every deployment; `ignore` labels say nothing. Everything else, with the metric and its unit, is what the series measures.
`writer` labels say nothing of the series either, but which of several senders wrote the point: two Prometheus servers that
scrape the same targets send every series twice, each with its own counters, and one of them is enough.

All series of a group are placed together, because they are summed and judged together. A giant, which no partition could
bear, is placed by metric: whatever is put together in detect is of one metric, or of the parts of one classic histogram.
"""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple

import msgspec
import orjson

from anomaly.config.settings import IdentitySettings
from anomaly.decode.naming import stem
from anomaly.decode.points import Kind
from anomaly.decode.steps_series import CODE, STEP

Labels = tuple[tuple[str, str], ...]

WRITERS = (1 << 16) - 1  # that can be told apart; two of a series would have to fall on the same by chance
EXAMPLE = "log.example"  # label of log lines: which of them it is says nothing of who they are
BEAT = "anomaly_group_beat"  # metric of the series that says of a giant that it was heard


@dataclass(frozen=True, slots=True)
class Series:
    """One canonical series. `labels` are sorted and hold neither ignored nor instance labels; `instance` holds those.

    `hash` is the seeded 64-bit fingerprint of everything here but `kind` and `bounds`; `group_hash` that of environment
    and group. `bounds` are the upper bounds of a histogram's buckets, the last one (+Inf) left out.
    """

    hash: int
    group_hash: int
    environment: str
    group: str
    metric: str
    unit: str
    labels: Labels
    instance: Labels
    kind: Kind
    bounds: tuple[float, ...] = ()


class _Text(msgspec.Struct, array_like=True, frozen=True):
    """A series without its hashes, which others can compute: what `pack` writes."""

    environment: str
    group: str
    metric: str
    unit: str
    labels: Labels
    instance: Labels
    kind: int
    bounds: tuple[float, ...]
    group_hash: int


_to_text, _from_text = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(_Text).decode


def pack(s: Series) -> bytes:
    """A series as MessagePack, without its hash: JSON has no word for an infinite bound."""
    return _to_text(
        _Text(s.environment, s.group, s.metric, s.unit, s.labels, s.instance, int(s.kind), s.bounds, s.group_hash)
    )


def unpack(hashed: int, text: bytes) -> Series:
    """What `pack` wrote; raises msgspec.DecodeError for what it did not."""
    t = _from_text(text)
    who = t.environment, t.group, t.metric, t.unit, t.labels, t.instance
    return Series(hashed, t.group_hash, *who, Kind(t.kind), t.bounds)


def fingerprint(seed: int, *parts: object) -> int:
    """64 bits of a keyed hash over the canonical JSON of `parts`: nobody without the seed can make two series collide."""
    digest = hashlib.blake2b(orjson.dumps(parts), digest_size=8, key=seed.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little")


def newest(names: Collection[str], aliases: Mapping[str, str]) -> dict[str, str]:
    """Label names as they are kept -> as they were given: old names replaced by new ones.

    Where both are given the old one says the same and goes; of two old ones for one new name the second stays as it is.
    """
    kept = {name: name for name in names if name not in aliases}
    for old in sorted(name for name in names if name in aliases):
        new = aliases[old]
        if new not in names:
            kept[new if new not in kept else old] = old
    return kept


class Roles(NamedTuple):
    """What the configuration makes of a set of label names: which of them is what, each in order.

    Labels and instance labels are (name, name as given): `newest`.
    """

    environment: str | None
    group: tuple[str, ...]
    labels: Labels
    instance: Labels
    writer: tuple[str, ...]


def root(metric: str) -> str:
    """What all parts of a classic histogram, and the histogram itself, have in common: the name without any such suffix."""
    while (shorter := stem(metric)) != metric:
        metric = shorter
    return metric


class Beat(NamedTuple):
    """The series, hash and text, by which every partition hears that a giant is there."""

    hash: int
    text: bytes


class Placed(NamedTuple):
    """A series as the catalog keeps it.

    `writer` is 0, or which of several senders of this series it came from; `place` chooses the partition of anomaly.points;
    `beat` is that of its group, if it is a giant.
    """

    hash: int
    group_hash: int
    text: bytes
    writer: int
    place: int
    beat: Beat | None


class Identity:
    """Resolves attributes to a Series by the configured roles."""

    def __init__(self, settings: IdentitySettings, seed: int = 0) -> None:
        self.settings, self.seed = settings, seed
        self._instance, self._writer = frozenset(settings.instance), frozenset(settings.writer)
        self._giants = frozenset(settings.giants)
        self._place = lru_cache(4096)(lambda *of: fingerprint(seed, *of))
        self._beat = lru_cache(4096)(self._made_beat)
        self._copy = lru_cache(4096)(lambda pairs: fingerprint(seed, pairs) % WRITERS + 1)
        self._roles = lru_cache(4096)(self._sorted)  # thousands of series have the same few sets of names
        self._ignored = lru_cache(4096)(lambda label: any(fnmatchcase(label, p) for p in settings.ignore))

    @property
    def key(self) -> str:
        """Which configuration it is, and which version of decoding: where they are the same, so are all series."""
        from anomaly.compiled import VERSION  # not above: `anomaly check` waits for no kernels

        said = msgspec.json.encode((self.settings, self.seed, VERSION), order="deterministic")
        return hashlib.sha256(said).hexdigest()[:16]

    def series(
        self, metric: str, unit: str, attributes: Mapping[str, str], kind: Kind, bounds: tuple[float, ...] = ()
    ) -> Series:
        """The canonical series of a metric with these attributes (all values as text)."""
        placed = self.placed(metric, unit, attributes, kind, bounds)
        return unpack(placed.hash, placed.text)

    def placed(
        self, metric: str, unit: str, attributes: Mapping[str, str], kind: Kind, bounds: tuple[float, ...] = ()
    ) -> Placed:
        """The same as hashes and text, without an object to hold it."""
        empty = tuple(k for k, v in attributes.items() if not v) if "" in attributes.values() else ()
        roles = self._roles(tuple(attributes), empty)
        environment = attributes[roles.environment] if roles.environment else "default"
        group = "/".join([attributes[a] for a in roles.group]) or "unknown"
        labels = tuple([(k, attributes[given]) for k, given in roles.labels])
        instance = tuple([(k, attributes[given]) for k, given in roles.instance])
        who = environment, group, metric, unit, labels, instance
        at = self._place(environment, group)
        text = _to_text((*who, int(kind), tuple(map(float, bounds)), at))
        writer = self._copy(tuple([(k, attributes[k]) for k in roles.writer])) if roles.writer else 0
        where, beat = at, None
        if group in self._giants:
            where, beat = self._place(environment, group, root(metric)), self._beat(environment, group)
        if EXAMPLE in attributes:
            gone = (EXAMPLE, CODE) if STEP in attributes else (EXAMPLE,)
            who = *who[:4], tuple([label for label in labels if label[0] not in gone]), instance
        return Placed(fingerprint(self.seed, *who), at, text, writer, where, beat)

    def _made_beat(self, environment: str, group: str) -> Beat:
        who = environment, group, BEAT, "", (), ()
        text = _to_text((*who, int(Kind.GAUGE), (), self._place(environment, group)))
        return Beat(fingerprint(self.seed, *who), text)

    def _sorted(self, names: tuple[str, ...], empty: tuple[str, ...]) -> Roles:
        """The roles of these names; a label without a value places nothing."""
        given = set(names) - set(empty)
        environment = next((a for a in self.settings.environment if a in given), None)
        alternative = next((g for g in self.settings.group if g[-1] in given), ())
        placed = {*self.settings.environment, *alternative, *self._writer}
        named = newest([k for k in names if k not in placed], self.settings.aliases)
        kept = sorted((k, old) for k, old in named.items() if not self._ignored(k))
        return Roles(
            environment,
            tuple(a for a in alternative if a in given),
            tuple(pair for pair in kept if pair[0] not in self._instance),
            tuple(pair for pair in kept if pair[0] in self._instance),
            tuple(sorted(self._writer & given)),
        )
