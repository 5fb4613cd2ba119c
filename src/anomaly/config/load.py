"""Settings and model specs from files, environment and command line; every mistake of them is reported at once.

The command line (`--set key.path=value`) goes over the environment (`ANOMALY_KEY__PATH=value`), over the file, over the
defaults.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from anomaly.config import check, check_calendars, check_specs
from anomaly.config.mistake import ConfigError, Mistake
from anomaly.config.models import Model, ModelSpec
from anomaly.config.read import At, Given, Reader
from anomaly.config.settings import Frozen, IdentitySettings, Settings

PREFIX = "ANOMALY_"
SUFFIXES = (".yaml", ".yml")


class SpecFile(Frozen, frozen=True):
    """A file of model specs."""

    specs: list[ModelSpec]


def load(path: str | Path | None, environ: Mapping[str, str], overrides: Sequence[str] = ()) -> Settings:
    """The settings; ConfigError with every mistake. Without `path`, the defaults are the lowest layer."""
    origin = str(path) if path is not None else ""
    tree = document(Path(path)) if path is not None else {}
    for keys, value in [*from_environment(environ), *from_command_line(overrides)]:
        overlay(tree, keys, value)
    with_default_groups(tree)
    reader = Reader()
    settings: Settings = reader.read(Settings, tree, At(origin, Path(path).parent if path is not None else Path()))
    if reader.mistakes:
        raise ConfigError(reader.mistakes)
    found = [*check.found(settings), *check_calendars.found(settings)]
    if mistakes := [Mistake(origin_of(reader, path, origin), path, text) for path, text in found]:
        raise ConfigError(mistakes)
    return settings


def load_specs(paths: Sequence[str | Path] = ()) -> tuple[ModelSpec, ...]:
    """The specs of `paths` (files and folders), then the shipped ones; where a name comes again, the first counts.

    Within each of the two, what ignores series comes first, so that nothing else takes them.
    """
    own, shipped = read_specs([Path(p) for p in paths]), read_specs([shipped_models()])
    named: dict[str, ModelSpec] = {}
    for spec in [*ignoring_first(own), *ignoring_first(shipped)]:
        named.setdefault(spec.name, spec)
    return tuple(named.values())


def read_specs(paths: Sequence[Path]) -> list[ModelSpec]:
    """The specs of files and folders, in the order of their names."""
    mistakes: list[Mistake] = []
    specs: list[ModelSpec] = []
    origin: dict[str, Path] = {}
    for path in files_of(paths):
        for spec in read_spec_file(path, mistakes):
            if spec.name in origin:
                said = f"{spec.name} is in {origin[spec.name]} already; rename or remove one of them"
                mistakes.append(Mistake(str(path), "specs", said))
            specs.append(spec)
        origin |= {s.name: path for s in specs if s.name not in origin}
    if mistakes:
        raise ConfigError(mistakes)
    return specs


def read_spec_file(path: Path, mistakes: list[Mistake]) -> list[ModelSpec]:
    """The specs of a file; what is wrong goes to `mistakes`."""
    reader = Reader()
    try:
        file = reader.read(SpecFile, document(path), At(str(path), path.parent))
    except ConfigError as error:
        mistakes += error.mistakes
        return []
    if reader.mistakes:
        mistakes += reader.mistakes
        return []
    specs: list[ModelSpec] = file.specs
    mistakes += [Mistake(str(path), at, text) for at, text in check_specs.found(specs)]
    return specs


def ignoring_first(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The same specs in another order."""
    return sorted(specs, key=lambda s: s.model is not Model.IGNORE)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and the YAML files of folders by name."""
    inside = [sorted(f for f in p.iterdir() if f.suffix in SUFFIXES) if p.is_dir() else [p] for p in paths]
    return [file for files in inside for file in files]


def shipped_models() -> Path:
    """The folder of the shipped specs: in an installed package beside the code, in the source tree at its top."""
    packaged = Path(str(resources.files("anomaly"))) / "models"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "models"


def document(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        with path.open(encoding="utf-8") as file:
            tree = yaml.load(file, Loader)
    except OSError as error:
        raise ConfigError([Mistake(str(path), "", f"cannot be read: {error.strerror}; name a readable file")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Mistake(str(path), "", "is not UTF-8 text; save it as UTF-8")]) from error
    except yaml.YAMLError as error:
        raise ConfigError([Mistake(str(path), "", f"is no YAML: {in_one_line(error)}")]) from error
    if tree is not None and not isinstance(tree, dict):
        raise ConfigError([Mistake(str(path), "", "holds no mapping; write `key: value` lines")])
    return tree or {}


def in_one_line(error: yaml.YAMLError) -> str:
    """What is wrong and where."""
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(getattr(error, "problem", None) or error).split())


class Loader(yaml.SafeLoader):
    """YAML without anything executable, and without keys that stand there twice (YAML would keep the last, silently)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse a second one."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                problem = f"the key {key.value} stands there twice; keep one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def from_environment(environ: Mapping[str, str]) -> list[tuple[list[str], Given]]:
    """Keys and values of the variables that are ours, in the order of their names.

    A variable without a `__` whose name is no key of the settings is somebody else's: Kubernetes gives every container
    the addresses of services, and one of them may well be called `anomaly`.
    """
    given = []
    for name in sorted(n for n in environ if n.startswith(PREFIX)):
        keys = name.removeprefix(PREFIX).lower().split("__")
        if len(keys) > 1 or keys[0] in Settings.__struct_fields__:
            given.append((keys, Given(environ[name], f"environment {name}")))
    return given


def from_command_line(overrides: Sequence[str]) -> list[tuple[list[str], Given]]:
    """Keys and values of `--set` options."""
    given = []
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path:
            raise ConfigError([Mistake(f"--set {text}", "", "has no `=`; write --set key.path=value")])
        given.append((path.split("."), Given(value, "--set")))
    return given


def overlay(tree: dict[str, Any], keys: Sequence[str], value: Given) -> None:
    """Put a value over the tree; lists are entered by number. What cannot be entered is said where it was given."""
    node: Any = tree
    for i, key in enumerate(keys):
        name = entry(node, key, value.origin, ".".join(keys))
        if i == len(keys) - 1:
            node[name] = value
        elif isinstance(node, dict):
            if node.get(name) is None:
                node[name] = {}
            node = node[name]
        else:
            node = node[name]


def entry(node: Any, key: str, origin: str, path: str) -> str | int:
    """The key, or the index, under which `node` holds what is meant."""
    if isinstance(node, dict):
        return key
    if isinstance(node, list) and key.isdecimal() and int(key) < len(node):
        return int(key)
    has = f"a list of {len(node)}; number its items from 0" if isinstance(node, list) else "no section"
    raise ConfigError([Mistake(origin, path, f"`{key}` leads nowhere: above it is {has}")])


def with_default_groups(tree: dict[str, Any]) -> None:
    """`group: [service.namespace, service.name]`, a flat list, is one alternative; the defaults follow it."""
    identity = tree.get("identity")
    group = identity.get("group") if isinstance(identity, dict) else None
    if isinstance(group, Given) and not group.lstrip().startswith("[["):
        group = [part.strip() for part in group.strip("[] ").split(",") if part.strip()]
    if isinstance(identity, dict) and isinstance(group, list) and group and all(isinstance(g, str) for g in group):
        identity["group"] = [group, *(list(g) for g in IdentitySettings().group if list(g) != group)]


def origin_of(reader: Reader, path: str, otherwise: str) -> str:
    """Where the value of a key, or else of the section around it, was given."""
    while path and path not in reader.where:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return reader.where.get(path, otherwise)
