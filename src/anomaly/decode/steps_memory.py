"""What a checkpoint holds of the traces that are open, as MessagePack."""

import msgspec

from anomaly.decode.steps_events import Whose, Words
from anomaly.state import refuse_newer

VERSION = 2  # 1: without interruptions, which is still read


class Memory(msgspec.Struct, kw_only=True):
    """All that is held, for a checkpoint."""

    rows: bytes
    places: list[tuple[str, str, int, int]]
    of_lines: dict[int, int]
    groups: dict[int, Whose]
    words: dict[int, Words]
    gone: bytes
    newest: int
    turn: int
    level: int
    eased: int
    since: int
    gap: tuple[int, int] = (0, 0)
    version: int = 1

    def packed(self) -> bytes:
        """As bytes."""
        return _to_memory(self)

    @classmethod
    def of(cls, data: bytes) -> "Memory":
        """What `packed` gave; a later version's raises."""
        refuse_newer(data, VERSION, "open traces")
        return _from_memory(data)


_to_memory, _from_memory = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Memory).decode
