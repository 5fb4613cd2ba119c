"""What is not told, or not told as loudly: what people silenced, and whose teams are still in shadow.

What a series says at a time is about the time since its point before, so that a silence reaches a point further than its
end. Blindness is neither: it is no incident, and goes straight to the receivers.
"""

from collections.abc import Mapping

from anomaly.command.command import Promote, Silence
from anomaly.command.commands import AFTER, Commands
from anomaly.correlate.incident import interval
from anomaly.detect.anomaly import Anomaly
from anomaly.dispatch.budgets import DEFAULT, first_fitting

LATEST, CALM = 1, 4  # points that an event is about; in which an anomaly that is over has ended
NOTHING_SAID = Commands()  # where nobody commands; nothing is ever put into it


def labels_of(anomaly: Anomaly) -> dict[str, str]:
    """What matchers are held against: the labels of its series, and who it is about."""
    names = {
        "environment": anomaly.environment, "group": anomaly.group, "metric": anomaly.metric,
        "quantity": anomaly.quantity, "signal": anomaly.signal.value,
    }  # fmt: skip
    return {**dict(anomaly.labels), **dict(anomaly.instance), **names}


def silenced(commands: Commands, anomaly: Anomaly, time: int, points: int = LATEST) -> str:
    """Why nobody is told of the anomaly at a time of event time, ms, or was so many points before; nothing where one is."""
    if not commands.any_silence:
        return ""
    silence = commands.silence(labels_of(anomaly), time, time - min(points * interval(anomaly), AFTER[-1]))
    return in_words(silence) if silence else ""


def in_words(silence: Silence) -> str:
    """A silence as a reason."""
    said = [f"by {silence.who}"] if silence.who else []
    until = f"until {silence.ends_at:%Y-%m-%d %H:%M} {silence.ends_at.tzname() or 'UTC'}"
    return " ".join([f"silence {silence.id}", *said, until]) + (f": {silence.comment}" if silence.comment else "")


class Teams:
    """Who is in shadow by the configuration: `default`, or a pattern of an environment or of environment/group."""

    def __init__(self, shadow: Mapping[str, bool]) -> None:
        self._shadow = {DEFAULT: False, **shadow}

    def in_shadow(self, commands: Commands, environment: str, group: str, time: int) -> bool:
        """Whether statistics alone may not page for a group: as somebody switched last, else as it is configured."""
        switched = commands.switched(environment, group, time)
        if switched is not None:
            return not isinstance(switched, Promote)
        return self._shadow[first_fitting(self._shadow, environment, group)]
