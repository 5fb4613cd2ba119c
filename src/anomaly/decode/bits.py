"""What a processor does at once and numba has no word for: WIDE bytes as the bits of a word, and products of 128 bits.

What a scanner looks for byte by byte is found in a whole line of cache by one comparison; the lowest bit is the first byte.
LLVM makes what the machine has of these: they are no instructions of one processor, and they give the same on all.
`within` checks no bounds: WIDE bytes from `at` on must be readable.
Source: G. Langdale and D. Lemire, "Parsing gigabytes of JSON per second" (2019), section 3.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.cpython.unsafe.numbers import trailing_zeros
from numba.extending import intrinsic

from anomaly.compiled import bare, inlined

WIDE = 64
_WORD, _BYTE = ir.IntType(64), ir.IntType(8)
_LINE = ir.VectorType(_BYTE, WIDE)
_ONE = np.uint64(1)


@intrinsic  # type: ignore[untyped-decorator]
def within(typing: Any, array: Any, at: Any, low: Any, high: Any) -> Any:
    """Which of the bytes array[at:at + WIDE) are from `low` to `high`, as uint64; both ends are literals or uint8."""

    def ask(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = context.cast(builder, arguments[1], signature.args[1], types.intp)
        first = builder.gep(builder.bitcast(one.data, _BYTE.as_pointer()), [place])
        held = builder.load(builder.bitcast(first, _LINE.as_pointer()), align=1)
        ends = zip(arguments[2:], signature.args[2:], strict=True)
        low, high = (context.cast(builder, end, own, types.uint8) for end, own in ends)
        span = splat(builder, builder.sub(high, low))
        found = builder.icmp_unsigned("<=", builder.sub(held, splat(builder, low)), span)
        return builder.bitcast(found, _WORD)

    return types.uint64(array, at, low, high), ask


def splat(builder: Any, byte: Any) -> Any:
    """A byte WIDE times."""
    line, zero = ir.Constant(_LINE, ir.Undefined), ir.IntType(32)(0)
    return builder.shuffle_vector(
        builder.insert_element(line, byte, zero), line, ir.Constant(ir.VectorType(ir.IntType(32), WIDE), [0] * WIDE)
    )


@intrinsic  # type: ignore[untyped-decorator]
def high_half(typing: Any, a: Any, b: Any) -> Any:
    """The upper 64 bits of the product of two uint64."""

    def ask(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(each, wide) for each in arguments))
        return builder.trunc(builder.lshr(product, wide(64)), _WORD)

    return types.uint64(types.uint64, types.uint64), ask


@inlined
def ascii_end(buffer, at, end):  # type: ignore[no-untyped-def]
    """Where the first byte stands that is no ASCII, or the end."""
    while at < end and at + WIDE <= buffer.size:
        found = within(buffer, at, 128, 255)
        if found:
            return min(at + np.int64(trailing_zeros(found)), end)
        at += WIDE
    while at < end and buffer[at] < 128:
        at += 1
    return min(at, end)


@bare
def stands_at(buffer, at, wanted):  # type: ignore[no-untyped-def]
    """Whether the bytes `wanted` stand there; what would lie past the end does not."""
    if at < 0 or at + wanted.size > buffer.size:
        return False
    for i in range(wanted.size):  # noqa: SIM110 (numba knows no generators)
        if buffer[at + i] != wanted[i]:
            return False
    return True


@bare
def holds(buffer, wanted, rare):  # type: ignore[no-untyped-def]
    """Whether the bytes `wanted` stand in the buffer; sought by their byte at `rare` and the next: a pair that is rare."""
    a, b, at = wanted[rare], wanted[rare + 1], np.int64(0)
    while at + WIDE < buffer.size:
        found = within(buffer, at, a, a) & within(buffer, at + 1, b, b)
        while found:
            if stands_at(buffer, at + trailing_zeros(found) - rare, wanted):
                return True
            found &= found - _ONE
        at += WIDE
    for i in range(at, buffer.size):  # noqa: SIM110 (numba knows no generators)
        if stands_at(buffer, i - rare, wanted):
            return True
    return False
