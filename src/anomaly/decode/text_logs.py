"""Log lines as plain text, a record each: the encoding `text_logs`, also of the Collector's Kafka exporter as `raw`.

What follows the first end of line, a stack trace, belongs to the line. Who wrote it is not said, so the source stands for
the service. When it was written is read where the line begins with a date and a time (RFC 3339, or with a blank and a comma,
as many loggers write it, taken for UTC), else it is the record's time. The level is looked for in the first words.
"""

import re

from anomaly.decode.catalog import Catalog
from anomaly.decode.encodings import Decoded, register
from anomaly.decode.log_lines import Line, Lines
from anomaly.decode.otlp_logs_scan import UNSAID
from anomaly.decode.records import BadRecord, DeadLetter, Records
from anomaly.decode.spans import NANOSECONDS
from anomaly.decode.text import rfc3339, utf8

_WRITTEN = re.compile(r"[\[(]?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?")


def time(text: str) -> int:
    """When the line says that it was written, ms; 0 if it does not begin with that."""
    found = _WRITTEN.match(text)
    if not found:
        return 0
    day, moment, fraction, zone = found.groups()
    try:
        return rfc3339(f"{day}T{moment}.{(fraction or '0')[:6]}{zone or 'Z'}")
    except BadRecord:
        return 0


@register("text_logs")
class TextLogs(Lines):
    """A line per record."""

    def decode(self, records: Records, catalog: Catalog) -> Decoded:
        """Every text is a line; what is no UTF-8 is none, and a line of blanks says nothing."""
        found: list[tuple[int, Line]] = []
        dead: list[DeadLetter] = []
        who = {"service.name": records.source or "logs"}
        for i in range(len(records)):
            try:
                text = utf8(records.value(i))
            except BadRecord as error:
                dead.append(records.dead(i, error))
                continue
            if text.strip():
                at, trace = time(text), self.session.of(text, who) if self.session else (0, 0)
                found.append((i, Line(who, UNSAID, text, at, trace, 0, at * NANOSECONDS)))
        return self.of_lines(found, dead, records, catalog)
