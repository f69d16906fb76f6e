"""Technique inference: what else to hunt for, given the attack techniques that a report names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from oakum.data import Dataset, Filter, Ids, Queries, Ragged, Schema
from oakum.errors import ParameterError, nearest
from oakum.kernels.als import weighted_rows
from oakum.kernels.flatmap import flat_map
from oakum.models.classic.ials import FactorModel
from oakum.parameters import Range, Spec
from oakum.seeds import generator

_SUB = re.compile(r"T\d{4}\.\d{3}")


class TIE(Spec):
    """Says which attack techniques to hunt for next when a few of an intrusion are known; reports are the users.

    Paper: Technique Inference Engine, Center for Threat-Informed Defense 2024. Weighted factors with weight 1 on what a
    report names and c on what it does not (missing is unknown, not absent): Σ C (P − u·v)² + λ (|U|² + |V|²) with
    C = 1 + α P and α = 1/c − 1, solved in turns: u = (VᵀV + α Σ v vᵀ + λ)⁻¹ (1 + α) Σ v. Memory
    4 · techniques · d bytes; time a sweep events · d² + (reports + techniques) d³. Newcomers, a new report, are one row
    update with V fixed; so are known reports, and an empty one has no evidence. Differs from the published code, which
    leaves α out of the update, so that c does nothing there: `update = "reference"` does the same.
    """

    slug = "tie"
    unknown_ids: ClassVar[str] = "refuse"
    embedding_dim: Annotated[int, Range(1, 1024, search=(2, 64), log=True), "width of the factors; few are best"] = 4
    unobserved_weight: Annotated[float, Range(above=0, high=1, search=(0.001, 0.7), log=True), "c"] = 0.05
    l2: Annotated[float, Range(0, search=(1e-4, 1), log=True), "λ"] = 0.01
    epochs: Annotated[int, Range(1, 1000, search=(10, 60)), "sweeps over reports and techniques"] = 25
    similarity: Annotated[Literal["dot", "cosine"], "how a report and a technique are compared"] = "dot"
    update: Annotated[Literal["paper", "reference"], "the formula, or the published code without α"] = "paper"

    def build(self, schema: Schema) -> TIEModel:
        """Empty factors."""
        return TIEModel(self, schema)


class TIEModel(FactorModel):
    """The technique table V; U is a row update of it."""

    def rows(self, factors: NDArray[np.float64], x: sparse.csr_matrix) -> NDArray[np.float64]:
        """The best factors of the rows of x [n, m] for fixed factors of its columns [m, d]; zeros for an empty row."""
        spec = self.spec
        alpha = 1 / spec.unobserved_weight - 1
        extra, target = (alpha, 1 + alpha) if spec.update == "paper" else (1.0, 1.0)
        gram = factors.T @ factors
        # Without λ a table of low rank has no unique solution: the smallest weight that can be solved picks one.
        ridge = np.full(x.shape[0], spec.l2 or 1e-9 * np.trace(gram) / len(gram) + 1e-12)
        out = weighted_rows(factors, gram, x.indptr, x.indices, ridge, extra, target)
        return out

    def fit(self, data: Dataset, *, seed: int = 0, progress: Callable[[float], None] | None = None) -> None:
        """Sweeps from normal factors: all reports, then all techniques."""
        x = data.matrix
        xt = x.T.tocsr()
        items = generator(seed, "technique factors").normal(size=(data.num_items, self.spec.embedding_dim))
        for sweep in range(self.spec.epochs):
            items = self.rows(self.rows(items, x), xt)
            if progress is not None:
                progress((sweep + 1) / self.spec.epochs)
        items[data.item_counts == 0] = np.nan
        self._keep(items.astype(np.float32))

    def _keep(self, factors: NDArray[np.float32]) -> None:
        self.factors = factors
        self.fixed = np.nan_to_num(factors).astype(np.float64)
        self.items = _unit(factors) if self.spec.similarity == "cosine" else factors

    def query_vectors(self, queries: Queries) -> NDArray[np.float32]:
        """One row update a request; NaN for an empty report."""
        x = queries.histories.matrix(len(self.items))
        out = self.rows(self.fixed, x).astype(np.float32)
        out[np.diff(x.indptr) == 0] = np.nan
        return _unit(out) if self.spec.similarity == "cosine" else out

    def state(self) -> dict[str, NDArray[Any]]:
        """The technique table."""
        return {"items": self.factors}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put it back."""
        self._keep(state["items"])

    def pictures(self, data: Dataset, *, seed: int = 0) -> list[dict[str, Any]]:
        """A map of the techniques, coloured by tactic where a table of techniques lies beside the log."""
        seen = np.flatnonzero(data.item_counts > 0)
        points, how = flat_map(self.factors[seen], seed=seed)
        names = [str(i) for i in data.items.decode(seen)]
        groups = _groups(names, data, seen)
        common = _apart(points, np.argsort(-data.item_counts[seen], kind="stable"), 10)
        series = []
        for group in sorted(set(groups), key=lambda g: (g == "other", g)):
            at = [r for r, g in enumerate(groups) if g == group]
            series.append(
                {
                    "name": group,
                    "x": [round(float(points[r, 0]), 3) for r in at],
                    "y": [round(float(points[r, 1]), 3) for r in at],
                    "names": [names[r] for r in at],
                    "labels": [names[r] if r in common else "" for r in at],
                }
            )
        return [
            {
                "kind": "points",
                "title": "Map of the techniques",
                "alt": f"{len(seen)} techniques drawn by {how}: near each other where the same reports name them; "
                "labelled: the most frequent of each neighbourhood.",
                "x_label": how,
                "series": series,
            }
        ]


def infer(
    fitted: Any, techniques: Sequence[str], k: int | None = None, names: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """A new report folded in: one row a technique, best first, those given included and marked.

    techniques: ids that were observed; one the model does not know is refused by name, and none at all is no evidence.
    k: rows returned (None: all that the model can score). names: id → name, for display. Returns dictionaries of
    technique, name, score, was_input.
    """
    codes = fitted.items.encode(list(techniques))
    strange = [t for t, c in zip(techniques, codes, strict=True) if c < 0]
    if strange:
        known = [str(i) for i in fitted.items.ids.to_list()]
        raise ParameterError(f"The model knows no technique '{strange[0]}'.{nearest(str(strange[0]), known)}")
    if not len(codes):
        raise ParameterError("There is no evidence: name at least one technique that was observed.")
    queries = Queries(np.array([-1], np.int32), Ragged.of([codes.tolist()]))
    ranking = fitted.rank(queries, min(k or len(fitted.items), len(fitted.items)), where=Filter())
    found: Ids = ranking.items[0][ranking.items[0] >= 0]
    given = set(codes.tolist())
    return [
        {"technique": t, "name": (names or {}).get(str(t), ""), "score": float(s), "was_input": int(c) in given}
        for t, s, c in zip(fitted.items.decode(found), ranking.scores[0], found.tolist(), strict=False)
    ]


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def _apart(points: NDArray[np.float64], order: NDArray[np.int64], n: int) -> set[int]:
    """The first n points of an order that leave room for each other's names."""
    scaled = (points - points.min(0)) / np.maximum(np.ptp(points, axis=0), 1e-12)
    chosen: list[int] = []
    for r in order.tolist():
        gap = np.abs(scaled[chosen] - scaled[r])
        if len(chosen) < n and ((gap[:, 0] > 0.25) | (gap[:, 1] > 0.06)).all():
            chosen.append(r)
    return set(chosen)


def _groups(names: list[str], data: Dataset, seen: NDArray[np.int64]) -> list[str]:
    """The first tactic of each technique, the five most frequent by name; else whether it is a sub-technique."""
    table = data.tables.get("items")
    if table is None or "tactics" not in table.columns:
        return ["sub-techniques" if _SUB.fullmatch(n) else "techniques" for n in names]
    cells = [table["tactics"][int(i)] for i in seen]
    first = [str(c) if isinstance(c, str) else str(c[0]) if c is not None and len(c) else "other" for c in cells]
    tactics, counts = np.unique([f for f in first if f != "other"], return_counts=True)
    kept = set(tactics[np.argsort(-counts, kind="stable")[:5]].tolist())
    return [f if f in kept else "other" for f in first]
