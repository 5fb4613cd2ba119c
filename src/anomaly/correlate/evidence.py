"""What an anomaly is evidence of, how much it weighs, and how much evidence there is in all.

Views of one fact count once: of a family the strongest is taken, of a service the heaviest family and a QUARTER of the
others. Else callers, at which everything shows, outrank the callee. Scores are of very different sizes, so they are
pressed into a scale that never ends: SOFT s / (SOFT + s).
"""

from collections import defaultdict
from collections.abc import Iterable

from anomaly.config.models import Signal
from anomaly.decode.log_lines import METRIC
from anomaly.decode.spans_series import BETWEEN
from anomaly.decode.steps_series import BETWEEN as BETWEEN_STEPS
from anomaly.decode.steps_series import SELF, STEPS, TOTAL
from anomaly.detect.anomaly import GOLDEN, HEARD, Anomaly

VOTING = STEPS, SELF, BETWEEN_STEPS  # whose traces know when it was odd; a total is as old as the whole
DURATIONS = SELF, TOTAL, BETWEEN_STEPS

SILENT, FULL, NETWORK, SEQUENCE, LINE, EDGE, SLOW, OTHER, RAW = (
    "silent", "full", "network", "sequence", "line", "edge", "slow", "other", "raw"
)  # fmt: skip
WEIGHTS = {
    SILENT: 1.3, FULL: 1.3, NETWORK: 1.1, SEQUENCE: 1.0, LINE: 0.8, EDGE: 0.8, SLOW: 0.7, OTHER: 0.4, RAW: 0.1
}  # fmt: skip
WHOLE = 0.7  # of SLOW: the total of an operation, which is slow where a callee is
QUARTER, SOFT = 0.25, 20.0
FIRST = 0.7  # of the weight of sequences, by the share of traces in which the service is the first odd thing
TOGETHER = 6.5  # the strongest of several, and half of the next ones: from which on they are told of
NEXT = 2  # that count half

Families = dict[str, tuple[float, list[Anomaly]]]  # by family: how much the strongest weighs, and the anomalies


def family(anomaly: Anomaly) -> str:
    """What it is evidence of."""
    if anomaly.metric in (BETWEEN_STEPS, BETWEEN):
        return EDGE
    if anomaly.metric == STEPS:
        return SEQUENCE
    if anomaly.metric in (SELF, TOTAL):
        return SLOW
    if anomaly.quantity == HEARD:
        return SILENT
    if anomaly.signal is Signal.SATURATION:
        return FULL
    if anomaly.metric == METRIC:
        return LINE if anomaly.signal is Signal.ERRORS else RAW
    return RAW if anomaly.signal is Signal.OTHER and anomaly.quantity != GOLDEN else OTHER


def weight(anomaly: Anomaly, of: str) -> float:
    """What it adds to a family of evidence."""
    found = WEIGHTS[of] * pressed(anomaly.score)
    return found * WHOLE if anomaly.metric == TOTAL else found


def pressed(score: float) -> float:
    """A score on the scale of scores that can be compared; of a silence, which has none that says much, as it is."""
    return SOFT * score / (SOFT + score) if score > 0 else 0.0


def summed(families: Iterable[float]) -> float:
    """The heaviest family, and a quarter of the others."""
    found = sorted(families, reverse=True)
    return found[0] + QUARTER * sum(found[1:]) if found else 0.0


def strength(anomalies: Iterable[Anomaly]) -> float:
    """The score of the strongest and half of those of the next ones, each fact once."""
    facts: dict[tuple[str, str, str], float] = {}
    for anomaly in anomalies:
        operation = dict(anomaly.labels).get("span.name", "")
        fact = anomaly.group, family(anomaly), operation
        facts[fact] = max(facts.get(fact, 0.0), anomaly.score)
    best, *others = sorted(facts.values(), reverse=True) or [0.0]
    return best + 0.5 * sum(others[:NEXT])


def accused(anomalies: Iterable[Anomaly]) -> dict[str, Families]:
    """By service and family: how much the strongest weighs, and the anomalies.

    A slow edge is its callee's, unless several of its caller's are slow: then it is the caller's network.
    """
    found: dict[str, Families] = defaultdict(dict)

    def accuse(group: str, of: str, anomaly: Anomaly) -> None:
        most, held = found[group].get(of, (0.0, []))
        found[group][of] = max(most, weight(anomaly, of)), [*held, anomaly]

    edges = []
    for anomaly in anomalies:
        if (of := family(anomaly)) == EDGE and (client := dict(anomaly.labels).get("client")):
            edges.append((client, anomaly))
        else:
            accuse(anomaly.group, of, anomaly)
    into: dict[str, set[str]] = defaultdict(set)
    out: dict[str, set[str]] = defaultdict(set)
    for client, anomaly in edges:
        into[anomaly.group].add(client)
        out[client].add(anomaly.group)
    for client, anomaly in edges:
        if len(out[client]) > 1 and len(out[client]) >= len(into[anomaly.group]):
            accuse(client, NETWORK, anomaly)
        else:
            accuse(anomaly.group, NETWORK if len(into[anomaly.group]) > 1 else EDGE, anomaly)
    return found


def weigh(families: Families, share: float) -> float:
    """All evidence against a service; `share` is how often it is the first odd thing in its traces."""
    first = {SEQUENCE: 1.0 - FIRST + FIRST * share}
    return summed(most * first.get(of, 1.0) for of, (most, _) in families.items())
