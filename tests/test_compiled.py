"""The cache of compiled kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anomaly

PROGRAM = "from anomaly.decode.caller import answer; print(answer())"
KERNEL = "from anomaly.compiled import kernel\n\n\n@kernel\ndef {name}():\n    return {value}\n"


def test_a_kernel_that_calls_another_file_is_compiled_anew_when_that_file_changes(tmp_path: Path):
    """An upgrade that touches only the callee must not go on with the old code inside the caller."""
    package = tmp_path / "anomaly"
    (package / "decode").mkdir(parents=True)
    for folder in (package, package / "decode"):
        (folder / "__init__.py").touch()
    shutil.copy(Path(anomaly.__file__).parent / "compiled.py", package)
    (package / "decode" / "caller.py").write_text(
        "from anomaly.decode.callee import called\n" + KERNEL.format(name="answer", value="called()")
    )
    answers = []
    for value in (1, 2):
        (package / "decode" / "callee.py").write_text(KERNEL.format(name="called", value=value))
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        environment.pop("NUMBA_CACHE_DIR", None)
        command = [sys.executable, "-c", PROGRAM]
        answers.append(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.strip())
    assert answers == ["1", "2"]
