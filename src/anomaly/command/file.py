"""Commands in a file, a JSON line each."""

from pathlib import Path

from anomaly.command.command import BadCommand, Command, read
from anomaly.config.mistake import ConfigError, Mistake


def commands_in(path: str | None) -> list[Command]:
    """Those of the file, if there is one; ConfigError with every mistake."""
    if path is None:
        return []
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise ConfigError([Mistake(path, "", f"cannot be read: {error.strerror}; name a readable file")]) from error
    found, mistakes = list[Command](), list[Mistake]()
    for i, line in enumerate(lines, 1):
        try:
            found += [read(line)] if line.strip() else []
        except BadCommand as error:
            mistakes.append(Mistake(path, f"line {i}", str(error)))
    if mistakes:
        raise ConfigError(mistakes)
    return found
