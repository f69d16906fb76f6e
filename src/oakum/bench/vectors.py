"""Cases of filtered search: published vectors, item texts of one's own, simulated clusters."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray

from oakum.audits.fanns import Case, FilteredSearch
from oakum.audits.record import AuditReport
from oakum.backends.embed import embed, embedder
from oakum.bench import Tell
from oakum.bench.reports import report_of
from oakum.data.texts import item_texts_of
from oakum.errors import DataError
from oakum.index.attributes import Attributes, Between, Is, Ordered
from oakum.parameters import Parameters, Range, fields
from oakum.seeds import generator

ASKED = 300  # rows of a table that are taken out and asked with
REQUESTS = 600
SPANS = (0.5, 0.1, 0.01, 0.001)  # shares that ranges let pass


class CaseSettings(Parameters):
    """How a case is made."""

    encoder: Annotated[str, "what turns texts into vectors: minilm, hashed:DIM, a folder or a name"] = "minilm"
    items: Annotated[int, Range(100, 10_000_000), "simulated vectors"] = 20_000
    dim: Annotated[int, Range(2, 4096), "their width"] = 64
    clusters: Annotated[int, Range(2, 100_000), "their clusters"] = 200
    sets: Annotated[str, "text columns that hold several values, column:separator;…"] = ""


def run(source: Path | None, settings: Mapping[str, str], seed: int, tell: Tell) -> AuditReport:
    """The task `fanns`: settings of `FilteredSearch`, and of the case (encoder; items, dim, clusters where it is simulated; sets:
    "column:separator;…" for text columns that hold several values)."""
    began = time.monotonic()
    of_case = {f.name for f in fields(CaseSettings)}
    made = CaseSettings.parse({k: v for k, v in settings.items() if k in of_case})
    audit = FilteredSearch.parse({k: v for k, v in settings.items() if k not in of_case})
    case = case_of(source, made, seed, tell)
    tell(f"{case.name}: {len(case.vectors):,} vectors of {case.vectors.shape[1]}, {len(case.requests):,} requests.")
    finding = audit.measure(case, seed=seed)
    kinds = ", ".join(sorted({kind for _, _, kind in case.requests}))
    return report_of(
        f"Filtered search over {case.name}",
        {"name": case.name, "items": len(case.vectors), "width": case.vectors.shape[1], "measure": case.metric},
        [
            ["Vectors", f"{case.name}: {len(case.vectors):,} of {case.vectors.shape[1]}. {case.note}"],
            ["Asked", f"{len(case.requests):,} requests with filters of the kinds {kinds}; one by one, on one thread."],
        ],
        finding, {"audits": [audit.to_json()], **made.to_json()}, seed, began,
    )  # fmt: skip


def case_of(source: Path | None, settings: CaseSettings, seed: int, tell: Tell) -> Case:
    """The case that a source names."""
    if source is None:
        tell("No vectors given: clusters are simulated.")
        return simulated(settings.items, settings.dim, settings.clusters, seed=seed)
    if source.is_dir():
        return published(source)
    if not source.is_file():
        raise DataError(f"There is no file or folder {source}.")
    from oakum.data.read import frame_of

    frame = pl.read_parquet(source) if source.suffix == ".parquet" else frame_of(source)
    parted = dict(p.split(":", 1) for p in settings.sets.split(";") if ":" in p)
    return case_of_table(
        frame, source.stem if source.stem != "items" else source.parent.name, settings.encoder, seed=seed, sets=parted
    )


def simulated(n: int, dim: int, clusters: int, *, spread: float = 0.6, queries: int = 200, seed: int = 0) -> Case:
    """Unit vectors in clusters; filters drawn at random, and filters of whole clusters drawn without regard to who asks."""
    rng = generator(seed, "clusters")
    middles = rng.normal(size=(clusters, dim))
    unit = lambda a: np.ascontiguousarray(a / np.linalg.norm(a, axis=1, keepdims=True), np.float32)
    member = rng.integers(0, clusters, n)
    x = unit(middles[member] + spread * rng.normal(size=(n, dim)))
    q = unit(middles[rng.integers(0, clusters, queries)] + spread * rng.normal(size=(queries, dim)))
    filters: list[tuple[str, NDArray[np.int32]]] = [
        ("random", np.flatnonzero(rng.random(n) < share).astype(np.int32)) for share in (0.5, 0.1, 0.01, 0.001)
    ]
    for share in (0.5, 0.1, 0.01):
        chosen = rng.permutation(clusters)[: max(1, round(share * clusters))]
        filters.append(("clusters", np.flatnonzero(np.isin(member, chosen)).astype(np.int32)))
    requests = [(r, codes, kind) for kind, codes in filters for r in range(queries) if len(codes)]
    return Case(
        "simulated clusters", x, q, requests,
        note=f"{clusters} clusters on the sphere, spread {spread}; random filters and filters of whole clusters.",
    )  # fmt: skip


def published(folder: Path) -> Case:
    """A folder with vectors.parquet (item_id, vector), queries.parquet (vector, filter_attribute_id) and
    item_filters.parquet (item_id, attribute_id)."""
    for name in ("vectors", "queries", "item_filters"):
        if not (folder / f"{name}.parquet").is_file():
            raise DataError(
                f"{folder} has no {name}.parquet; name a folder of vectors, queries and item_filters, or a table of items."
            )
    items = pl.read_parquet(folder / "vectors.parquet")
    queries = pl.read_parquet(folder / "queries.parquet")
    pairs = pl.read_parquet(folder / "item_filters.parquet")
    places = pl.DataFrame({"item_id": items["item_id"], "row": np.arange(len(items), dtype=np.int32)})
    lists = pairs.join(places, on="item_id").group_by("attribute_id").agg(pl.col("row").sort())
    passing = {a: np.asarray(r, np.int32) for a, r in lists.iter_rows()}
    wanted = queries["filter_attribute_id"].to_list()
    requests = [(r, passing[a], "member") for r, a in enumerate(wanted) if a in passing]
    return Case(
        folder.name, _matrix(items["vector"]), _matrix(queries["vector"]), requests,
        note="Published vectors, requests and filters.",
    )  # fmt: skip


def case_of_table(
    table: pl.DataFrame, name: str, encoder: str = "minilm", *, seed: int = 0, sets: Mapping[str, str] | None = None
) -> Case:
    """The texts of a table of items as vectors, its other columns as filters. Some rows are taken out and asked with; each
    gets filters drawn from the columns: equal to a value, member of a set, within a range."""
    words = item_texts_of(table, name, ("title",))
    kept = np.array([any(c.isalnum() for c in t) for t in words.texts])
    table, texts = table.filter(pl.Series(kept)), [t for t, ok in zip(words.texts, kept, strict=True) if ok]
    if len(texts) < 100:
        raise DataError(f"'{name}' has {len(texts)} items with a text; a benchmark needs 100 at least.")
    model = embedder(encoder).fitted(texts)
    vectors = embed(texts, model)
    rng = generator(seed, "asked")
    out = np.zeros(len(texts), bool)
    out[rng.choice(len(texts), min(ASKED, len(texts) // 5), replace=False)] = True
    known = table.filter(pl.Series(~out)).drop(
        [c for c in words.columns if c not in (sets or {}) and table.schema[c] == pl.String and not _many(table[c])]
    )
    attributes = Attributes(known, sets={k: v for k, v in (sets or {}).items() if k in known.columns})
    drawn = [f for f in (_drawn(attributes, c, len(known), rng) for c in attributes.columns) if f]
    if not drawn:
        raise DataError(f"'{name}' has no column to filter by beside its text; found {', '.join(table.columns)}.")
    requests = []
    for i in range(REQUESTS):
        options = drawn[i % len(drawn)]
        kind, codes = options[int(rng.integers(len(options)))]
        requests.append((i % int(out.sum()), codes, kind))
    return Case(
        name, vectors[~out], vectors[out], requests,
        note=f"{words.note} Encoded by {model.name.partition(' ')[0]}; {int(out.sum())} rows were taken out and asked with.",
        facts={"columns filtered by": ", ".join(attributes.columns)},
    )  # fmt: skip


def _many(column: pl.Series) -> bool:
    """Whether text is no title but a set: parts in one value."""
    return bool(column.str.contains("|", literal=True).any())


def _drawn(own: Attributes, column: str, n: int, rng: np.random.Generator) -> list[tuple[str, NDArray[np.int32]]]:
    """Filters over one column, spread over selectivities."""
    codes = lambda condition: np.flatnonzero(own.select(condition)).astype(np.int32)
    held = own.columns[column]
    out = []
    if isinstance(held, Ordered):
        for share in SPANS:
            for _ in range(8):
                width = max(1, round(share * n))
                low = int(rng.integers(0, max(1, len(held.values) - width)))
                high = min(low + width, len(held.values)) - 1
                out.append(("range", codes(Between(column, held.values[low], held.values[high]))))
        return out if len(held.values) > 1 and held.values.n_unique() < len(held.values) else []
    values = own.values(column)
    counts = {v: own.count(Is(column, v)) for v in values[:2000]}
    common = [v for v, c in counts.items() if c >= max(2, n // 2000)]
    if len(common) < 2:
        return []
    kind = "member" if sum(counts.values()) > n else "equal"
    # As many rare as common ones: by rank on a logarithmic scale.
    at = np.unique(np.geomspace(1, len(common), num=min(40, len(common))).round().astype(int)) - 1
    return [(kind, codes(Is(column, common[i]))) for i in at]


def _matrix(column: pl.Series) -> NDArray[np.float32]:
    if not isinstance(column.dtype, pl.Array | pl.List):
        raise DataError(f"The column '{column.name}' should hold vectors. Found {column.dtype}.")
    return np.asarray(column.to_list(), np.float32)
