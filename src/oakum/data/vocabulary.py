"""The ids of a log, coded once: code c stands for `ids[c]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from oakum.data.ragged import Ids
from oakum.errors import DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """Unique ids (all integers or all text) in code order. Unknown ids encode to -1.

    ids: a polars Series of Int64 or String without nulls or duplicates.
    """

    ids: pl.Series

    @classmethod
    def of(cls, ids: Iterable[Any]) -> Vocabulary:
        """From ids in code order; integers stay integers, everything else is text."""
        import polars as pl

        kept = list(ids)
        whole = all(isinstance(x, int | np.integer) and not isinstance(x, bool) for x in kept)
        series = pl.Series("id", [int(x) if whole else str(x) for x in kept], dtype=pl.Int64 if whole else pl.String)
        if series.n_unique() != len(series):
            raise DataError("A vocabulary holds the same id twice; ids must be unique.")
        return cls(series)

    def __len__(self) -> int:
        return len(self.ids)

    def encode(self, ids: Sequence[Any] | pl.Series) -> Ids:
        """Codes of the ids, int32 [n]; -1 where unknown. Text that spells an integer id is understood."""
        import polars as pl

        series = ids if isinstance(ids, pl.Series) else pl.Series("id", list(ids), strict=False)
        if series.dtype != self.ids.dtype:
            series = series.cast(self.ids.dtype, strict=False)
        table = pl.DataFrame({"id": self.ids, "code": np.arange(len(self.ids), dtype=np.int32)})
        found = pl.DataFrame({"id": series}).join(table, on="id", how="left", maintain_order="left")
        return found["code"].fill_null(-1).to_numpy().astype(np.int32)

    def decode(self, codes: Any) -> list[Any]:
        """The ids behind the codes, as the log spelt them."""
        return self.ids.gather(np.asarray(codes, dtype=np.int64)).to_list()

    def extend(self, ids: Iterable[Any]) -> Vocabulary:
        """The same codes, and new ones after them for the ids not yet known."""
        import polars as pl

        asked = list(ids)
        fresh = list(dict.fromkeys(i for i, c in zip(asked, self.encode(asked), strict=True) if c < 0))
        return self if not fresh else Vocabulary(pl.concat([self.ids, pl.Series("id", fresh, dtype=self.ids.dtype)]))
