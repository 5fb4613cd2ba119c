"""Parts of a block as blocks of their own."""

import numpy as np

from anomaly.host.blocks import Fetched


def cut(block: Fetched, offset: int) -> Fetched:
    """The records of a block from an offset on."""
    return part(block, slice(int(np.searchsorted(block.offset, offset)), None), offset, block.next_offset)


def single(block: Fetched, i: int) -> Fetched:
    """Record `i` of a block as a block of its own."""
    offset = int(block.offset[i])
    return part(block, slice(i, i + 1), offset, offset + 1)


def part(block: Fetched, rows: slice, first: int, following: int) -> Fetched:
    """Some records of a block as a block of the offsets [first, following)."""
    columns = (block.offset[rows], block.time[rows], block.value_at[rows], block.value_len[rows])
    return Fetched(block.source, block.partition, block.buffer, *columns, following, first, epoch=block.epoch)
