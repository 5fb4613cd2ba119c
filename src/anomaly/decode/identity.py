"""Who a series is: environment, group, instance and the labels that make it itself.

A sender's attributes (resource, scope, point; or Prometheus labels, Telegraf tags) are sorted by configuration into four
roles. `environment` and `group` place the series; `instance` labels name which copy of the group it is, and change at
every deployment; `ignore` labels say nothing. Everything else, with the metric and its unit, is what the series measures.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

import msgspec
import orjson

from anomaly.config.settings import IdentitySettings
from anomaly.decode.points import Kind

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One canonical series. `labels` are sorted and hold neither ignored nor instance labels; `instance` holds those.

    `hash` is the seeded 64-bit fingerprint of everything here but `kind` and `bounds`; `group_hash` that of environment
    and group: it chooses the partition of anomaly.points. `bounds` are the upper bounds of a histogram's buckets, the
    last one (+Inf) left out.
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


class Identity:
    """Resolves attributes to a Series by the configured roles."""

    def __init__(self, settings: IdentitySettings, seed: int = 0) -> None:
        self.settings, self.seed = settings, seed
        self._instance = frozenset(settings.instance)
        self._place = lru_cache(4096)(lambda environment, group: fingerprint(seed, environment, group))
        self._ignored = lru_cache(4096)(lambda label: any(fnmatchcase(label, p) for p in settings.ignore))

    def series(
        self, metric: str, unit: str, attributes: Mapping[str, str], kind: Kind, bounds: tuple[float, ...] = ()
    ) -> Series:
        """The canonical series of a metric with these attributes (all values as text)."""
        environment = next((attributes[a] for a in self.settings.environment if attributes.get(a)), "default")
        placed, group = self._group(attributes)
        placed |= set(self.settings.environment)
        kept = sorted((k, v) for k, v in attributes.items() if k not in placed and not self._ignored(k))
        labels = tuple(pair for pair in kept if pair[0] not in self._instance)
        instance = tuple(pair for pair in kept if pair[0] in self._instance)
        return Series(
            fingerprint(self.seed, environment, group, metric, unit, labels, instance),
            self._place(environment, group),
            environment, group, metric, unit, labels, instance, kind, bounds,
        )  # fmt: skip

    def _group(self, attributes: Mapping[str, str]) -> tuple[set[str], str]:
        """The labels that place a series and the group's name: the first alternative of which the last label is there."""
        for alternative in self.settings.group:
            if attributes.get(alternative[-1]):
                return set(alternative), "/".join(attributes[a] for a in alternative if attributes.get(a))
        return set(), "unknown"
