"""How the hot path is compiled: one decorator, so that every kernel is cached, releases the GIL and can be bounds-checked.

numba does not check bounds by itself. The fuzz tests set ANOMALY_BOUNDSCHECK=1, which compiles afresh (never from or to
the cache) with every index checked.

numba's cache looks at a kernel's own file alone: one that calls a kernel of another file would go on with the old one after
an upgrade. So each module's kernels have a folder that is named by the sources of the module and of all that it imports,
below NUMBA_CACHE_DIR or the package's own __pycache__: what changes elsewhere costs no compiling, and installations of the
same sources may share one.
"""

import hashlib
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.core.caching import UserProvidedCacheLocator
from numba.extending import intrinsic

CHECKED = os.environ.get("ANOMALY_BOUNDSCHECK", "") == "1"


PACKAGE = Path(__file__).parent
_IMPORT = re.compile(rb"^ *(?:from|import) anomaly\.([\w.]+)(?: import (?:\(([^)]*)\)|([^(\n]*)))?", re.MULTILINE)


@cache
def imported(source: Path) -> frozenset[Path]:
    """The files of ours that one imports."""
    found = set[Path]()
    for module, *names in _IMPORT.findall(source.read_bytes()):
        above = PACKAGE / module.decode().replace(".", "/")
        named = re.findall(r"\w+", b",".join(names).decode())
        found |= {above.with_suffix(".py"), *(above / f"{name}.py" for name in named)}
    return frozenset(path for path in found if path.is_file())


def sources_of(source: Path) -> list[Path]:
    """A file and all that it imports, and what these import."""
    found, new = set[Path](), {source, Path(__file__)}
    while new:
        found |= new
        new = {path for one in new for path in imported(one)} - found
    return sorted(found)


@cache
def hashed(source: Path) -> str:
    """A hash of what is in a file; many modules import the same few."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def digest(sources: list[Path]) -> str:
    """A hash of what is in these files, wherever they are installed."""
    said = [f"{path.relative_to(PACKAGE)} {hashed(path)}" for path in sources]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


@cache
def cache_folder(source: Path) -> Path:
    """The folder for the kernels of a file, compiled from its sources as they are now."""
    own = PACKAGE if os.access(PACKAGE, os.W_OK) else Path(tempfile.gettempdir()) / "anomaly"
    above = Path(os.environ.get("NUMBA_CACHE_DIR", own / "__pycache__"))
    return above / "kernels" / f"{source.stem}-{digest(sources_of(source))}"


class Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Tells numba the folder of a kernel of ours, and of nothing else."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        super().__init__(py_func, py_file)
        self._cache_path = str(cache_folder(Path(py_file)))

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """None for a function of others."""
        return super().from_function(py_func, py_file) if py_func.__module__.startswith("anomaly.") else None


# Of decode and detect: other sources, another version.
VERSION = digest([path for stage in ("decode", "detect") for path in sorted((PACKAGE / stage).glob("*.py"))])
numba.config.CACHE_DIR = numba.config.CACHE_DIR or str(PACKAGE / "__pycache__")
numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.Locator,UserProvidedCacheLocator"


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
