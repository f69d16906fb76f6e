"""A small language that chooses items by their columns: `price < 10 and category in ["drum", "harp"]`.

    choice  := both ("or" both)*
    both    := single ("and" single)*
    single  := "not" single | "(" choice ")" | test
    test    := value (("==" | "!=" | "<" | "<=" | ">" | ">=") value)+        chains as in 5 <= price < 10
             | value ["not"] "in" ("[" literal, … "]" | column)              the column holds lists
             | column "is" ["not"] "missing"
             | column                                                         true or false by itself
    value   := column | literal;  literal := number | "text" | 'text' | true | false
    column  := a name, or `any text between back-quotes`

Nothing is evaluated as code: the text becomes a small tree, the tree is checked against the types of the columns, and the
columns are compared. Dates are written as text, "2024-05-01". A test of a missing value is neither true nor false, so
neither it nor its negation chooses the item; `is missing` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.errors import ParameterError, nearest

LONGEST = 4_000
DEEPEST = 40
MOST_VALUES = 1_000
WORDS = {"and", "or", "not", "in", "is", "missing", "true", "false"}
COMPARISONS = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |`(?P<quoted>[^`]+)`
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>==|!=|<=|>=|<|>|\(|\)|\[|\]|,))""",
    re.X,
)


@dataclass(frozen=True, slots=True)
class Node:
    """One step of the tree. kind: or, and, not, compare, in, missing, truth, column, literal."""

    kind: str
    parts: tuple[Node, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed choice. `mask` applies it to a table."""

    text: str
    root: Node

    @classmethod
    def parse(cls, text: str) -> Expression:
        """Read a choice. Raises `ParameterError` that points at the place."""
        if len(text) > LONGEST:
            raise ParameterError(f"A filter may have {LONGEST:,} characters; this one has {len(text):,}.")
        return cls(text, _Parser(text).parse())

    @property
    def columns(self) -> frozenset[str]:
        """The columns it reads."""
        return frozenset(n.value for n in _walk(self.root) if n.kind == "column")

    def mask(self, table: pl.DataFrame) -> NDArray[np.bool_]:
        """Which rows are chosen, bool [rows]. Raises `ParameterError` for unknown columns and values of another type."""
        for name in sorted(self.columns):
            if name not in table.columns:
                raise ParameterError(f"The filter names the column '{name}'.{nearest(name, table.columns)}")
        chosen = table.select(_truth(self.root, table.schema).fill_null(value=False).alias("chosen"))["chosen"]
        if len(chosen) == 1 != len(table):  # a choice without columns is one value for all
            return np.full(len(table), bool(chosen[0]))
        out: NDArray[np.bool_] = chosen.to_numpy().astype(bool)
        return out


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts:
        yield from _walk(part)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text, self.tokens, self.at, self.depth = text, list(_tokens(text)), 0, 0

    def fail(self, expected: str) -> ParameterError:
        kind, value, place = self.tokens[self.at]
        found = "the end" if kind == "end" else f"'{value}'"
        return ParameterError(
            f"The filter cannot be read at character {place + 1}: expected {expected}, found {found}. "
            'Write for example: price < 10 and category in ["a", "b"].'
        )

    def parse(self) -> Node:
        root = self.choice()
        if self.tokens[self.at][0] != "end":
            raise self.fail("'and', 'or' or the end")
        return root

    def take(self, value: str) -> bool:
        kind, found, _ = self.tokens[self.at]
        if kind in ("sign", "word") and found == value:
            self.at += 1
            return True
        return False

    def need(self, value: str) -> None:
        if not self.take(value):
            raise self.fail(f"'{value}'")

    def choice(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ParameterError(f"The filter nests more than {DEEPEST} deep; write it flatter.")
        found = self.series("or", lambda: self.series("and", self.single))
        self.depth -= 1
        return found

    def series(self, word: str, read: Any) -> Node:
        parts = [read()]
        while self.take(word):
            parts.append(read())
        return parts[0] if len(parts) == 1 else Node(word, tuple(parts))

    def single(self) -> Node:
        turned = 0
        while self.take("not"):
            turned += 1
        if self.take("("):
            found = self.choice()
            self.need(")")
        else:
            found = self.test()
        return Node("not", (found,)) if turned % 2 else found

    def test(self) -> Node:
        left = self.value()
        if self.take("is"):
            turned = self.take("not")
            self.need("missing")
            if left.kind != "column":
                raise ParameterError("Only a column can be missing; write: price is missing.")
            return _turned(Node("missing", (left,)), turned)
        turned = self.take("not")
        if self.take("in"):
            return _turned(Node("in", (left, self.values() if self.take("[") else self.value())), turned)
        if turned:
            raise self.fail("'in' after 'not'")
        links = []
        while self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in COMPARISONS:
            sign = self.tokens[self.at][1]
            self.at += 1
            right = self.value()
            links.append(Node("compare", (left, right), sign))
            left = right
        if links:
            return links[0] if len(links) == 1 else Node("and", tuple(links))
        if left.kind == "literal" and not isinstance(left.value, bool):
            raise self.fail("a comparison")
        return Node("truth", (left,))

    def value(self) -> Node:
        kind, found, _ = self.tokens[self.at]
        if kind in ("number", "text"):
            self.at += 1
            return Node("literal", value=found)
        if kind == "column":
            self.at += 1
            return Node("column", value=found)
        if kind == "word" and found in ("true", "false"):
            self.at += 1
            return Node("literal", value=found == "true")
        raise self.fail("a column, a number, a text in quotes, true or false")

    def values(self) -> Node:
        found: list[Any] = []
        while not self.take("]"):
            if found:
                self.need(",")
            node = self.value()
            if node.kind != "literal":
                raise ParameterError("A list in a filter holds numbers, texts in quotes, true or false.")
            found.append(node.value)
            if len(found) > MOST_VALUES:
                raise ParameterError(f"A list in a filter may hold {MOST_VALUES:,} values.")
        return Node("literal", value=tuple(found))


def _turned(node: Node, turned: bool) -> Node:
    return Node("not", (node,)) if turned else node


def _tokens(text: str) -> Iterator[tuple[str, Any, int]]:
    at = 0
    while at < len(text.rstrip()):
        match = TOKEN.match(text, at)
        if match is None:
            place = at + len(text[at:]) - len(text[at:].lstrip())
            hint = " Write == for 'is equal to'." if text[place] == "=" else ""
            raise ParameterError(
                f"The filter cannot be read at character {place + 1}: {text[place]!r} means nothing there.{hint}"
            )
        kind = str(match.lastgroup)
        value: Any = match[kind]
        place = match.start(kind)
        if kind == "number":
            value = float(value) if re.search(r"[.eE]", value) or len(value) > 18 else int(value)
        elif kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.S)
        elif kind == "quoted":
            kind = "column"
        elif kind == "name":
            kind = "word" if value in WORDS else "column"
        yield kind, value, place
        at = match.end()
    yield "end", "", len(text)


# --- the tree over a table ------------------------------------------------------------------------------------------
def _truth(node: Node, schema: Any) -> pl.Expr:
    if node.kind in ("and", "or"):
        # Flat, not nested: a chain of a thousand tests must not cost a thousand frames of anybody's stack.
        join = pl.all_horizontal if node.kind == "and" else pl.any_horizontal
        return join([_truth(part, schema) for part in node.parts])
    if node.kind == "not":
        return ~_truth(node.parts[0], schema)
    if node.kind == "missing":
        return _column(node.parts[0].value, schema).is_null()
    if node.kind == "truth":
        (value,) = node.parts
        if _kind(value, schema) != "truth":
            raise ParameterError(
                f"The column '{value.value}' is not true or false; compare it, as in {value.value} == …."
            )
        return _operand(value, schema)
    if node.kind == "in":
        return _member(node, schema)
    left, right = node.parts
    kinds = _kind(left, schema), _kind(right, schema)
    return getattr(_operand(left, schema, kinds[1]), COMPARISONS[node.value])(_operand(right, schema, kinds[0]))


def _member(node: Node, schema: Any) -> pl.Expr:
    left, right = node.parts
    if right.kind == "column":
        if not isinstance(schema[right.value], pl.List):
            raise ParameterError(f'The column \'{right.value}\' holds no lists; write: {right.value} in ["a", "b"].')
        inner = _kind_of(schema[right.value].inner)
        if left.kind == "literal" and _kind(left, schema) != inner:
            raise ParameterError(f"The lists in '{right.value}' hold {inner}s; got {left.value!r}.")
        return _column(right.value, schema).list.contains(_operand(left, schema, inner))
    if not isinstance(right.value, tuple):
        raise ParameterError('After \'in\' comes a list such as ["a", "b"], or a column that holds lists.')
    kind = _kind(left, schema)
    operand = _operand(left, schema)
    same = [Node("literal", value=v) for v in right.value]
    if not same:
        return pl.lit(value=False)
    if kind in ("number", "text") and all(_kind(v, schema) == kind for v in same):
        values = list(right.value) if kind == "text" else [float(v) for v in right.value]
        return operand.is_in(values) if kind == "text" else operand.cast(pl.Float64).is_in(values)
    return pl.any_horizontal([operand == _operand(value, schema, kind) for value in same])


def _kind(node: Node, schema: Any) -> str:
    """number, text, truth, moment or list."""
    if node.kind == "column":
        return _kind_of(schema[node.value])
    value = node.value
    return "truth" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"


def _kind_of(dtype: Any) -> str:
    if dtype == pl.Boolean:
        return "truth"
    if dtype.is_numeric():
        return "number"
    if dtype in (pl.Date, pl.Datetime):
        return "moment"
    return "list" if dtype.is_nested() else "text"


def _column(name: str, schema: Any) -> pl.Expr:
    column = pl.col(name)
    dtype = schema[name]
    if dtype.is_float():
        return column.fill_nan(None)
    return column.cast(pl.Datetime("us")) if _kind_of(dtype) == "moment" else column


def _operand(node: Node, schema: Any, wanted: str | None = None) -> pl.Expr:
    kind = _kind(node, schema)
    if kind == "list":
        raise ParameterError(f"The column '{node.value}' holds lists; write: \"a\" in {node.value}.")
    if wanted is not None and kind != wanted:
        if node.kind == "literal" and wanted == "moment" and kind == "text":
            return pl.lit(_moment(node.value), dtype=pl.Datetime("us"))
        if not (node.kind == "column" and kind == "moment" and wanted == "text"):
            name = f"the column '{node.value}'" if node.kind == "column" else repr(node.value)
            raise ParameterError(f"The filter compares a {wanted} with {name}, which is a {kind}.")
    return _column(node.value, schema) if node.kind == "column" else pl.lit(node.value)


def _moment(text: str) -> Any:
    from datetime import UTC, datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ParameterError(f"'{text}' is no date; write for example \"2024-05-01\".") from None
    return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
