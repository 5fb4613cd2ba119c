"""Files and standard input as records: a line is a record of the text encodings, a whole file one of the binary ones.

A name that ends in .gz is unpacked while it is read. `-` is standard input.
"""

import gzip
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, cast

from anomaly.config.mistake import ConfigError, Mistake, one_of, shown
from anomaly.config.settings import SourceSettings
from anomaly.decode.encodings import ENCODINGS

STDIN, PACKED = "-", ".gz"
BY_SUFFIX = {".csv": "csv", ".json": "otlp_json", ".jsonl": "otlp_json", ".ndjson": "otlp_json", ".lp": "influx"}
# A record of these may hold any byte, so no line ends it.
WHOLE = frozenset({"jaeger_proto", "otlp_proto", "otlp_spans_proto", "prometheus_remote_write"})
LINES, BYTES = 1024, 4 << 20  # of a batch of lines


class NoData(Exception):
    """A file that is not there, or two that cannot be told apart."""


def encoding_of(path: str, given: str | None) -> str:
    """The encoding asked for, or the one that the file's name tells."""
    if given and given not in ENCODINGS:
        raise wrong("--encoding", f"{shown(given)} is no encoding that is known; {one_of(given, sorted(ENCODINGS))}")
    if given:
        return given
    suffix = Path(path.removesuffix(PACKED)).suffix
    if suffix not in BY_SUFFIX:
        raise wrong(path, f"its name does not tell the encoding; say --encoding with one of {', '.join(sorted(ENCODINGS))}")
    return BY_SUFFIX[suffix]


def wrong(origin: str, text: str) -> ConfigError:
    """A mistake in what was asked for."""
    return ConfigError([Mistake(origin, "", text)])


def source_of(path: str, encoding: str) -> SourceSettings:
    """A file as a source, called by its name without folders."""
    name = "stdin" if path == STDIN else Path(path).name.removesuffix(PACKED)
    return SourceSettings(topic=name, encoding=encoding)


def checked(paths: Sequence[str]) -> None:
    """Raise NoData for the first of the paths that is no file."""
    for path in paths:
        if path != STDIN and not Path(path).is_file():
            raise NoData(f"{path}: no such file")


def batches(path: str, encoding: str) -> Iterator[list[bytes]]:
    """The records of a file, in batches of a bearable size."""
    with opened(path) as file:
        if encoding in WHOLE:
            yield [file.read()]
        elif encoding == "csv":
            yield from _tables(file)
        else:
            yield from _lines(file)


def opened(path: str) -> BinaryIO:
    """The file's bytes, unpacked."""
    if path == STDIN:
        return cast(BinaryIO, nullcontext(sys.stdin.buffer))
    return cast(BinaryIO, gzip.open(path) if path.endswith(PACKED) else Path(path).open("rb"))


def _lines(file: BinaryIO) -> Iterator[list[bytes]]:
    batch, size = [], 0
    for line in file:
        batch.append(line.rstrip(b"\r\n"))
        size += len(line)
        if len(batch) == LINES or size >= BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _tables(file: BinaryIO) -> Iterator[list[bytes]]:
    """Each batch of lines as one record that begins with the file's first line: its header."""
    header = b""
    for batch in _lines(file):
        header, lines = (batch[0], batch[1:]) if not header else (header, batch)
        yield [b"\n".join([header, *lines])]
