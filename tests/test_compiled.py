"""The cache of compiled kernels."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anomaly
from anomaly.compiled import PACKAGE, imported

PROGRAM = "from anomaly.decode.caller import answer; print(answer(), sum(answer.stats.cache_hits.values()))"
KERNEL = "from anomaly.compiled import kernel\n\n\n@kernel\ndef {name}():\n    return {value}\n"


def installed(folder: Path, called: int) -> None:
    """A package whose kernel calls that of another file, beside a file that it does not import."""
    package = folder / "anomaly"
    (package / "decode").mkdir(parents=True, exist_ok=True)
    for each in (package, package / "decode"):
        (each / "__init__.py").touch()
    shutil.copy(Path(anomaly.__file__).parent / "compiled.py", package)
    (package / "decode" / "caller.py").write_text(
        "from anomaly.decode.callee import called\n" + KERNEL.format(name="answer", value="called()")
    )
    (package / "decode" / "callee.py").write_text(KERNEL.format(name="called", value=called))


def run(folder: Path, **more: str) -> tuple[int, int]:
    """What the kernel says, and how many kernels came from the cache."""
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-c", PROGRAM]
    told = subprocess.run(command, env=environment | more, check=True, capture_output=True, text=True).stdout.split()
    return int(told[0]), int(told[1])


def test_a_kernel_that_calls_another_file_is_compiled_anew_when_that_file_changes(tmp_path: Path):
    """An upgrade that touches only the callee must not go on with the old code inside the caller."""
    for value in (1, 2):
        installed(tmp_path, value)
        assert run(tmp_path) == (value, 0)


def test_a_kernel_is_not_compiled_anew_by_a_change_elsewhere_nor_by_another_installation_that_shares_the_cache(
    tmp_path: Path,
):
    """So an upgrade costs the compiling of what it changed."""
    for place in ("one", "other"):
        installed(tmp_path / place, 1)
    shared = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run(tmp_path / "one", **shared) == (1, 0)
    (tmp_path / "one" / "anomaly" / "decode" / "unrelated.py").write_text("VALUE = 1\n")
    assert run(tmp_path / "one", **shared) == (1, 1)
    assert run(tmp_path / "other", **shared) == (1, 1)


def test_a_kernel_is_cached_by_all_that_its_file_imports_however_that_is_written():
    """A parser of Python says what that is."""
    for source in sorted(PACKAGE.glob("de*/*.py")):
        found = set[Path]()
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("anomaly."):
                above = PACKAGE.joinpath(*str(node.module).split(".")[1:])
                found |= {above.with_suffix(".py"), *(above / f"{alias.name}.py" for alias in node.names)}
        assert imported(source) == {path for path in found if path.is_file()}, source.name
