"""Commands among the blocks of anomaly.points: magic "APC", version, and the command as JSON.

A program from before them sets such a record aside: it does not begin like a block.
"""

from anomaly.command.command import BadCommand, Command, encode, read
from anomaly.decode.records import BadRecord

MAGIC, VERSION = b"APC", 1
HEAD = MAGIC + bytes([VERSION])


def written(command: Command) -> bytes:
    """The command as a record."""
    return HEAD + encode(command)


def command_in(record: bytes) -> Command | None:
    """The command in a record, None where it is something else; raises BadRecord for one that we cannot follow."""
    if not record.startswith(MAGIC):
        return None
    if record[: len(HEAD)] != HEAD:
        raise BadRecord("unknown_version", "a command of a later version: update this program")
    try:
        return read(record[len(HEAD) :])
    except BadCommand as error:
        raise BadRecord("bad_command", str(error)) from None
