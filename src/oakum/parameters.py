"""Typed, validated, frozen values: the one way to write hyper-parameters.

A class that derives from `Parameters` is a frozen keyword-only dataclass whose fields carry their range and their
meaning in the type::

    embedding_dim: Annotated[int, Range(1, 4096, search=(16, 256)), "width of the embeddings"] = 64

That one line is the constructor argument, the check, the JSON field, the command-line option, the search space for
tuning and the row of the documentation table.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from oakum.errors import ParameterError, nearest


@dataclass(frozen=True, slots=True)
class Range:
    """Closed interval that a number must lie in; `search` is the narrower interval that tuning explores.

    `log` says that tuning should step by factors. Open ends are written with `above` / `below`.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None
    search: tuple[float, float] | None = None
    log: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside (NaN never does)."""
        return (
            value == value
            and (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        left = f"[{self.low:g}" if self.low is not None else f"({self.above:g}" if self.above is not None else "(-inf"
        right = f"{self.high:g}]" if self.high is not None else f"{self.below:g})" if self.below is not None else "inf)"
        return f"in {left}, {right}"


@dataclass(frozen=True, slots=True)
class Field:
    """One hyper-parameter as the rest of Oakum reads it: name, plain type, range, meaning, default."""

    name: str
    type: Any
    range: Range | None
    choices: tuple[Any, ...] | None
    doc: str
    default: Any
    optional: bool

    @property
    def kind(self) -> str:
        """The type in words, for messages and tables."""
        if self.choices:
            return " | ".join(repr(c) for c in self.choices)
        name = getattr(self.type, "__name__", str(self.type))
        return f"{name} or none" if self.optional else name


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Parameters:
    """Base of every typed value. Subclasses become frozen keyword-only dataclasses by being declared."""

    slug: ClassVar[str] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, kw_only=True, repr=True)(cls)

    def __post_init__(self) -> None:
        for field in fields(type(self)):
            object.__setattr__(self, field.name, _checked(type(self).__name__, field, getattr(self, field.name)))

    @classmethod
    def make(cls, **settings: Any) -> Self:
        """Construct from names that a user typed; an unknown name is refused with the nearest known one."""
        known = {f.name for f in fields(cls)}
        for name in settings:
            if name not in known:
                raise ParameterError(f"{cls.__name__} has no parameter '{name}'.{nearest(name, known)}")
        return cls(**settings)

    @classmethod
    def parse(cls, settings: Mapping[str, str]) -> Self:
        """Construct from text (`name=value` on a command line): each value is read as its field's type."""
        by_name = {f.name: f for f in fields(cls)}
        read = {}
        for name, text in settings.items():
            if name not in by_name:
                raise ParameterError(f"{cls.__name__} has no parameter '{name}'.{nearest(name, by_name)}")
            read[name] = _from_text(cls.__name__, by_name[name], text)
        return cls(**read)

    def replace(self, **changes: Any) -> Self:
        """A copy with some values changed, checked again."""
        return type(self).make(**{**{f.name: getattr(self, f.name) for f in fields(type(self))}, **changes})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; a nested value carries its own slug."""
        out: dict[str, Any] = {"slug": self.slug} if self.slug else {}
        for f in fields(type(self)):
            out[f.name] = _plain(getattr(self, f.name))
        return out

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`; nested slugs are resolved through the catalogue and nowhere else."""
        read = {}
        for name, item in value.items():
            if name == "slug":
                continue
            if isinstance(item, Mapping) and "slug" in item:
                from oakum.catalogue import load_class

                item = load_class(str(item["slug"])).from_json(item)
            read[name] = tuple(item) if isinstance(item, list) else item
        return cls.make(**read)


class Spec(Parameters):
    """What a system is: hyper-parameters that build an empty model from sizes alone.

    `build` sees the schema (numbers of users, items, fields), never the data, so a saved model can be rebuilt
    without its log. `unknown_ids` says what becomes of ids in a newcomer's history that the model has never seen:
    "ignore" answers from the rest and names them, "refuse" is for systems whose ids are a standard's own, where a
    strange one is a slip of the pen; "need-one" ignores like the first and refuses a history of strange ones alone, where
    popular items would be no answer.
    """

    unknown_ids: ClassVar[str] = "ignore"

    def build(self, schema: Any) -> Any:
        """An untrained model of the right sizes."""
        raise TypeError(f"{type(self).__name__} does not say how to build its model.")


def fields(cls: type) -> tuple[Field, ...]:
    """The hyper-parameters of a `Parameters` class, in order of declaration."""
    if "_fields" not in cls.__dict__:
        cls._fields = _read_fields(cls)  # type: ignore[attr-defined]
    found: tuple[Field, ...] = cls.__dict__["_fields"]
    return found


def _read_fields(cls: type) -> tuple[Field, ...]:
    hints = get_type_hints(cls, include_extras=True)
    out = []
    for f in dataclasses.fields(cls):
        hint, bounds, doc = hints[f.name], None, ""
        if get_origin(hint) is Annotated:
            hint, *extras = get_args(hint)
            bounds = next((e for e in extras if isinstance(e, Range)), None)
            doc = next((e for e in extras if isinstance(e, str)), "")
        optional = False
        if get_origin(hint) in (Union, types.UnionType):
            rest = [a for a in get_args(hint) if a is not type(None)]
            optional = len(rest) < len(get_args(hint))
            hint = rest[0] if len(rest) == 1 else object
        choices = get_args(hint) if get_origin(hint) is Literal else None
        default = f.default
        if f.default_factory is not dataclasses.MISSING:
            default = f.default_factory()
        out.append(Field(f.name, hint, bounds, choices, doc, default, optional))
    return tuple(out)


def _checked(owner: str, field: Field, value: Any) -> Any:
    def refuse(wanted: str) -> ParameterError:
        return ParameterError(f"The '{field.name}' parameter of {owner} must be {wanted}. Got {value!r} instead.")

    if value is None:
        if field.optional:
            return None
        raise refuse(f"a {field.kind}")
    if field.choices is not None:
        if value not in field.choices:
            raise refuse(f"one of {', '.join(repr(c) for c in field.choices)}")
        return value
    if field.type in (int, float):
        number = isinstance(value, int | float) or hasattr(value, "__float__")
        if isinstance(value, bool | str) or not number or (field.type is int and int(value) != value):
            raise refuse(f"{'an int' if field.type is int else 'a float'}{f' {field.range}' if field.range else ''}")
        value = field.type(value)
        if field.range is not None and not field.range.holds(value):
            raise refuse(f"{'an int' if field.type is int else 'a float'} {field.range}")
    elif get_origin(field.type) is tuple:
        inner = get_args(field.type)[0]
        right = (int, float) if inner is float else inner
        if not isinstance(value, tuple | list) or not all(isinstance(v, right) for v in value):
            raise refuse(f"a list of {inner.__name__}")
        value = tuple(value)
    elif field.type is bool and not isinstance(value, bool):
        raise refuse("true or false")
    elif field.type is str and not isinstance(value, str):
        raise refuse("text")
    elif isinstance(field.type, type) and issubclass(field.type, Parameters) and not isinstance(value, field.type):
        raise refuse(f"a {field.kind}")
    return value


def _from_text(owner: str, field: Field, text: str) -> Any:
    wanted = f"The '{field.name}' parameter of {owner} must be {field.kind}. Got {text!r} instead."
    if field.optional and text.lower() in ("none", "null"):
        return None
    if field.choices is not None:
        for choice in field.choices:
            if text == str(choice):
                return choice
        raise ParameterError(wanted)
    try:
        if field.type is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
        if field.type is int:
            return int(text)
        if field.type is float:
            return float(text)
        if get_origin(field.type) is tuple:
            inner = get_args(field.type)[0]
            return tuple(inner(part) for part in text.split(",") if part)
        if isinstance(field.type, type) and issubclass(field.type, Parameters):
            from oakum.catalogue import load_class

            return load_class(text)()
    except (ValueError, KeyError):
        raise ParameterError(wanted) from None
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Parameters):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value
