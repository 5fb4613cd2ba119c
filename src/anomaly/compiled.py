"""How the hot path is compiled: one decorator, so that every kernel is cached, releases the GIL and can be bounds-checked.

numba does not check bounds by itself. The fuzz tests set ANOMALY_BOUNDSCHECK=1, which compiles afresh (never from or to
the cache) with every index checked.

numba's cache looks at a kernel's own file alone: one that calls a kernel of another file would go on with the old one after
an upgrade. So the cache has a folder per state of the sources that kernels call each other from, below NUMBA_CACHE_DIR or
the package's own __pycache__.
"""

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

CHECKED = os.environ.get("ANOMALY_BOUNDSCHECK", "") == "1"


def cache_folder() -> Path:
    """The folder for kernels compiled from the sources as they are now."""
    package = Path(__file__).parent
    stages = [path for stage in ("decode", "detect") for path in sorted((package / stage).glob("*.py"))]
    sources = b"".join(path.read_bytes() for path in (Path(__file__), *stages))
    own = package if os.access(package, os.W_OK) else Path(tempfile.gettempdir()) / "anomaly"
    above = Path(os.environ.get("NUMBA_CACHE_DIR", own / "__pycache__"))
    return above / f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"


VERSION = cache_folder().name  # of decode and detect: other sources, another version
numba.config.CACHE_DIR = str(cache_folder())


def kernel(function: Any) -> Any:
    """Compile `function` at first use, or load it from the cache beside its source."""
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED)(function)


def bare(function: Any) -> Any:
    """A kernel that neither allocates nor returns an array, without reference counts: they halve the speed of a scanner.

    numba counts the uses of every array that it hands from kernel to kernel, by atomic increments.
    """
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED, _nrt=False, no_cfunc_wrapper=True)(function)


def inlined(function: Any) -> Any:
    """A bare kernel of a few lines that others call all the time: LLVM merges it into each caller."""
    options = {"_nrt": False, "no_cfunc_wrapper": True, "forceinline": True}
    return njit(cache=not CHECKED, nogil=True, boundscheck=CHECKED, **options)(function)


@intrinsic  # type: ignore[untyped-decorator]
def fetch(typing: Any, array: Any, index: Any, byte: Any) -> Any:
    """Ask memory for what lies `byte` bytes into row `index` of an array; changes nothing but the time that it takes."""

    def ask(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = context.make_array(signature.args[0])(context, builder, arguments[0])
        stride = cgutils.unpack_tuple(builder, one.strides)[0]
        step = builder.mul(context.cast(builder, arguments[1], signature.args[1], types.intp), stride)
        at = builder.add(step, context.cast(builder, arguments[2], signature.args[2], types.intp))
        pointer = builder.gep(builder.bitcast(one.data, cgutils.voidptr_t), [at])
        number = ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
        builder.call(prefetch, [pointer, number(1), number(3), number(1)])  # to write, keep, data
        return context.get_dummy_value()

    return types.none(array, index, byte), ask
