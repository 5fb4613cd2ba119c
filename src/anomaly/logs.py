"""The log: one line an event, `key=value`, on standard error; what a logger is given as `extra` is a key of its own."""

import logging
import sys
from datetime import UTC, datetime

import orjson

from anomaly.config.mistake import CREDENTIALS

OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}  # what every record has
LEVELS = ("debug", "info", "warning", "error")


class KeyValue(logging.Formatter):
    """`time=… level=… logger=… msg=…`, then the extras in the order in which they were given, then the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields: dict[str, object] = {"time": when, "level": record.levelname.lower(), "logger": record.name}
        fields["msg"] = record.getMessage()
        fields |= {k: v for k, v in vars(record).items() if k not in OWN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return " ".join(f"{key}={word(value)}" for key, value in fields.items())


def word(value: object) -> str:
    """A value, quoted where it is more than a word, without the credentials of a URL."""
    text = CREDENTIALS.sub("//***@", f"{value:g}" if isinstance(value, float) else str(value))
    plain = text.isprintable() and text and not any(c in text for c in ' "=')
    return text if plain else orjson.dumps(text.encode("utf-8", "replace").decode()).decode()


def to_stderr(level: str) -> None:
    """Log from `level` on; libraries only what somebody must know."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(KeyValue())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("anomaly").setLevel(level.upper())
