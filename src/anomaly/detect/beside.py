"""What detect tells correlate besides anomalies, so that it can say what belongs together and what is the likely cause.

They are records on its input, as anomalies are: what correlate knows is a function of them in their order. Times are
milliseconds of event time. A worker from before one of them sets its records aside as dead letters, and goes on.
"""

from msgspec import Struct

from anomaly.decode.identity import Labels
from anomaly.detect.anomaly import Anomaly, Tick


class Calls(Struct, frozen=True, kw_only=True, tag="calls", tag_field="type"):
    """One service called another one so often, up to `time`, since this was last told."""

    environment: str
    caller: str
    callee: str
    calls: float
    time: int


class Facts(Struct, frozen=True, kw_only=True, tag="facts", tag_field="type"):
    """Where something runs: whoever has all labels of `who` (a pod's name) has those of `facts` (node, zone, version)."""

    environment: str
    group: str  # that told it; not always the one that it is about
    who: Labels
    facts: Labels
    time: int


class Change(Struct, frozen=True, kw_only=True, tag="change", tag_field="type"):
    """Something was changed: deployed, configured, switched, scaled. `labels` say of what (version, node)."""

    id: str
    environment: str
    group: str  # "": of the environment
    kind: str
    what: str  # in a few words: "payment 2.3.0 → 2.3.1"
    labels: Labels
    time: int


Beside = Calls | Facts | Change
Said = Anomaly | Tick | Beside  # all that detect says
