"""Plain data -> typed settings, by the declarations in `settings.py` and `models.py`; every mistake is collected.

msgspec's own conversion stops at the first mistake and knows neither durations nor paths, so the declarations are walked
here: a section is a Struct, `Annotated[float, Meta(extra={"duration": True})]` is written with a unit, and
`Meta(extra={"path": …})` names a file, relative to the one that names it; `Meta(extra={"rate": True})` is written
per time, and a mapping with `Meta(extra={"alone": key})` may be one value, which is that key's then.
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from msgspec import NODEFAULT, inspect

from anomaly.config.duration import REMEDY, seconds
from anomaly.config.mistake import Mistake, one_of, shown
from anomaly.config.rate import per_week

BAD = object()  # stands for a value that could not be read
BOUNDS = (("ge", "at least"), ("gt", "more than"), ("le", "at most"), ("lt", "less than"))
WORDS: dict[Any, tuple[Any, str]] = {
    inspect.StrType: (str, "a text"),
    inspect.BoolType: (bool, "true or false"),
    inspect.IntType: (int, "a whole number"),
    inspect.FloatType: ((int, float), "a number"),
}


class Given(str):
    """A value from the environment or the command line: a text, read as what its key wants. `origin` says where it stood."""

    origin: str

    def __new__(cls, text: str, origin: str) -> "Given":
        given = super().__new__(cls, text)
        given.origin = origin
        return given


class At(NamedTuple):
    """Where a value stands: which file or option, which folder its paths are relative to, which key."""

    origin: str
    folder: Path
    path: str = ""

    def key(self, name: str) -> "At":
        """A key of this section."""
        return self._replace(path=f"{self.path}.{name}" if self.path else name)

    def item(self, i: int) -> "At":
        """An item of this list."""
        return self._replace(path=f"{self.path}[{i}]")


class Reader:
    """Reads one document; `mistakes` holds what was wrong, `where` the origin of each key."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self.where: dict[str, str] = {}

    def read(self, kind: type, value: object, at: At) -> Any:
        """`value` as a `kind`; BAD after a mistake."""
        return self._read(inspect.type_info(kind), value, at)

    def wrong(self, at: At, text: str) -> object:
        """Note a mistake."""
        self.mistakes.append(Mistake(at.origin, at.path, text))
        return BAD

    def _read(self, kind: Any, value: object, at: At) -> object:
        if isinstance(value, Given):
            at = At(value.origin, Path(), at.path)
            value = meant(kind, value)
        self.where[at.path] = at.origin
        match kind:
            case inspect.UnionType():
                return self._optional(kind, value, at)
            case inspect.Metadata(extra={"duration": True}):
                return self._duration(value, at)
            case inspect.Metadata(extra={"path": role}):
                return self._path(value, str(role), at)
            case inspect.Metadata(extra={"rate": True}):
                return self._rate(value, at)
            case inspect.Metadata(extra={"alone": key}):
                return self._alone(kind.type, str(key), value, at)
            case inspect.StructType():
                return self._section(kind, value, at)
            case inspect.ListType():
                return self._list(kind.item_type, value, at)
            case inspect.VarTupleType():
                items = self._list(kind.item_type, value, at)
                return tuple(items) if isinstance(items, list) else items
            case inspect.DictType():
                return self._mapping(kind.value_type, value, at)
            case inspect.EnumType():
                return self._word(kind.cls, value, at)
            case inspect.AnyType():  # somebody else's: whoever uses it says what is wrong with it
                return value
        return self._plain(kind, value, at)

    def _optional(self, kind: inspect.UnionType, value: object, at: At) -> object:
        inner = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
        if value is not None:
            return self._read(inner, value, at)
        if isinstance(inner, inspect.StructType):
            return self.wrong(at, "is empty; write {} for the defaults, or remove the key")
        return None

    def _section(self, kind: inspect.StructType, value: object, at: At) -> object:
        if not isinstance(value, dict):
            return self.wrong(at, f"{shown(value)} is no section; write `key: value` lines under it")
        fields = {f.encode_name: f for f in kind.fields}
        for key in value:
            if key not in fields:
                self.wrong(
                    at._replace(origin=given_in(value[key]) or at.origin).key(str(key)),
                    f"is no key that is known here; {one_of(str(key), list(fields))}",
                )
        for name, field in fields.items():
            if field.required and field.default is NODEFAULT and name not in value:
                self.wrong(at.key(name), "is missing; add it, there is no default")
        before = len(self.mistakes)
        read = {name: self._read(f.type, value[name], at.key(name)) for name, f in fields.items() if name in value}
        if len(self.mistakes) > before or any(f.required and n not in read for n, f in fields.items()):
            return BAD
        return kind.cls(**{fields[name].name: each for name, each in read.items()})

    def _list(self, item: Any, value: object, at: At) -> object:
        if not isinstance(value, list):
            return self.wrong(at, f"{shown(value)} is no list; write [{shown(value).strip(chr(34))}] or one `- item` a line")
        return [self._read(item, v, at.item(i)) for i, v in enumerate(value)]

    def _mapping(self, kind: Any, value: object, at: At) -> object:
        if not isinstance(value, dict):
            return self.wrong(at, f"{shown(value)} is no mapping; write `name: value` lines under it")
        return {str(k): self._read(kind, v, at.key(str(k))) for k, v in value.items()}

    def _word(self, cls: Any, value: object, at: At) -> object:
        known = [member.value for member in cls]
        if value not in known:
            return self.wrong(at, f"{shown(value)} is not one of {', '.join(known)}")
        return cls(value)

    def _duration(self, value: object, at: At) -> object:
        if not isinstance(value, str):
            return self.wrong(at, f"{shown(value)} has no unit; {REMEDY}")
        try:
            return seconds(value)
        except ValueError as error:
            return self.wrong(at, f"{shown(value)} {error}")

    def _alone(self, kind: Any, key: str, value: object, at: At) -> object:
        if isinstance(value, dict):
            return self._read(kind, value, at)
        return {key: self._read(kind.value_type, value, at)}

    def _rate(self, value: object, at: At) -> object:
        try:
            return per_week(str(value))
        except ValueError as error:
            return self.wrong(at, f"{shown(value)} {error}")

    def _path(self, value: object, role: str, at: At) -> object:
        if not isinstance(value, str) or not value:
            return self.wrong(at, f"{shown(value)} is no path; write one, in quotes where it looks like something else")
        path = at.folder / value
        if role == "new" and not path.parent.is_dir():
            return self.wrong(at, f"{shown(value)}: there is no folder {path.parent}; make it, or name another")
        if role != "new" and not path.exists():
            return self.wrong(at, f"{shown(value)}: there is no such file; make it readable at {path}, or name another")
        return str(path)

    def _plain(self, kind: Any, value: Any, at: At) -> object:
        python, words = WORDS[type(kind)]
        if not isinstance(value, python) or (isinstance(value, bool) and python is not bool):
            quote = ", in quotes" if python is str else ""
            return self.wrong(at, f"{shown(value)} is not {words}; write {words}{quote}")
        for bound, said in BOUNDS:
            limit = getattr(kind, bound, None)
            if limit is not None and not within(bound, value, limit):
                return self.wrong(at, f"{shown(value)} is out of range; it must be {said} {limit}")
        return float(value) if isinstance(kind, inspect.FloatType) else value


def given_in(value: object) -> str | None:
    """Where a value came from, if from outside the file."""
    while isinstance(value, dict) and value:
        value = next(iter(value.values()))
    return value.origin if isinstance(value, Given) else None


def within(bound: str, value: Any, limit: float) -> bool:
    """Whether `value` keeps to a bound of msgspec's `Meta`."""
    return bool({"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}[bound])


def meant(kind: Any, text: str) -> object:
    """A text from outside the file as what the key wants: a list may be written with commas, all else as in YAML."""
    if isinstance(kind, inspect.UnionType):
        kind = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
    section = isinstance(kind, inspect.Metadata) and "alone" in (kind.extra or {})
    if isinstance(kind, inspect.StrType | inspect.EnumType | inspect.Metadata) and not section:
        return str(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = str(text)
    if isinstance(kind, inspect.ListType | inspect.VarTupleType) and not isinstance(value, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    return value
