"""Imports point one way: from the end of a data point's walk to its beginning."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import anomaly

ROOT = Path(anomaly.__file__).parent
WALK = (
    "config",
    "command",
    "decode",
    "detect",
    "correlate",
    "dispatch",
    "engine",
    "probe",
    "host",
    "demo",
    "cli",
)  # in order
ANYWHERE = {"compiled", "logs", "pool", "state", "table"}  # how kernels are compiled, lines are logged, and state is kept
# A spec matches series, so the one module that declares specs knows what a series is.
ALLOWED = {("config/models.py", "anomaly.decode.identity")}
FOLDERS_NOT_TO_BE = {"utils", "util", "common", "core", "base", "types", "helpers"}


def modules() -> list[Path]:
    """Every module."""
    return sorted(path for path in ROOT.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The modules that one imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""
            if node.module == "anomaly":
                yield from (f"anomaly.{alias.name}" for alias in node.names)


def part(path: Path) -> str:
    """The step of the walk that a module belongs to."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def ours(name: str) -> str | None:
    """The step of the walk that an imported module belongs to, if it is ours."""
    parts = name.split(".")
    return parts[1] if parts[0] == "anomaly" and len(parts) > 1 and parts[1] in (*WALK, *ANYWHERE) else None


def name_of(path: Path) -> str:
    """How a test is called."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_a_module_imports_only_what_comes_before_it(path: Path):
    if part(path) not in WALK:
        return
    step = WALK.index(part(path))
    for name in imported(path):
        target = ours(name)
        if target is None or target in ANYWHERE or (name_of(path), name) in ALLOWED:
            continue
        assert WALK.index(target) <= step, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_hosts_know_faust_and_aiokafka(path: Path):
    if part(path) == "host":
        return
    assert not [n for n in imported(path) if n.split(".")[0] in {"faust", "aiokafka", "mode"}]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_only_the_command_line_and_the_demo_import_a_host(path: Path):
    if part(path) in {"host", "demo", "cli", "__main__"}:
        return
    assert not [n for n in imported(path) if ours(n) == "host"]


@pytest.mark.parametrize("path", modules(), ids=name_of)
def test_nothing_in_the_pipeline_asks_what_time_it_is(path: Path):
    """Time is in the data; only the hosts, and what is in front of people, have a clock."""
    if part(path) not in {"config", "decode", "detect", "correlate", "engine"}:
        return
    assert not [n for n in imported(path) if n.split(".")[0] in {"time", "random", "secrets"}]


def test_every_module_has_its_place_in_the_walk():
    known = {*WALK, *ANYWHERE, "__init__", "__main__"}
    assert {part(path) for path in modules()} <= known
    assert not {p for path in modules() for p in (*path.parts, path.stem)} & FOLDERS_NOT_TO_BE
