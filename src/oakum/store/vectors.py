"""Vectors for other programs: one safetensors file with the tables and, in its header, the ids and the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from oakum.engine.fitted import Fitted
from oakum.errors import ModelFileError, ParameterError
from oakum.files import whole


def export_vectors(fitted: Fitted, path: str | Path, *, block: int = 4096) -> Path:
    """Write the vectors of a model whose score is a dot product.

    Tensors: users float32 [users, d] and items float32 [items, d], a row of NaN where the model cannot say. Header:
    format, user_ids and item_ids (JSON lists in row order), spec (JSON: with it a client can fold in newcomers).
    Raises `ParameterError` where the model has no vectors, `ModelFileError` where the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    scorer = fitted.scorer
    if not (hasattr(scorer, "query_vectors") and hasattr(scorer, "item_vectors")):
        raise ParameterError(f"'{fitted.spec.slug}' does not score by a dot product, so it has no vectors to export.")
    every = np.arange(len(fitted.users), dtype=np.int32)
    parts = [scorer.query_vectors(fitted.queries(every[at : at + block])) for at in range(0, len(every), block)]
    tables: dict[str, Any] = {"users": np.concatenate(parts), "items": np.ascontiguousarray(scorer.item_vectors())}
    header = {
        "format": "oakum vectors 1",
        "user_ids": json.dumps(fitted.users.ids.to_list()),
        "item_ids": json.dumps(fitted.items.ids.to_list()),
        "spec": json.dumps(fitted.spec.to_json(), default=str),
    }
    path = Path(path)
    try:
        with whole(path) as aside:
            save_file(tables, str(aside), metadata=header)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(f"The vectors could not be written to {path}: {error}.") from None
    return path
