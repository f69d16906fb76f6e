"""Vectors for other programs: the scores can be had from the file alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from oakum.engine.fit import fit
from oakum.errors import ModelFileError, ParameterError
from oakum.models.classic.knn import ItemKNN
from oakum.models.cyber.tie import TIE
from oakum.store.vectors import export_vectors
from tests.toys import random_log


def test_scores_follow_from_the_file(tmp_path: Path) -> None:
    data = random_log()
    model = fit(TIE(), data)
    with safe_open(str(export_vectors(model, tmp_path / "v.safetensors", block=7)), "numpy") as file:
        users, items, header = file.get_tensor("users"), file.get_tensor("items"), file.metadata()
    np.testing.assert_allclose(
        users @ items.T, model.score(model.queries(np.arange(40, dtype=np.int32))), rtol=1e-5, atol=1e-6
    )
    assert json.loads(header["item_ids"]) == data.items.ids.to_list()
    assert json.loads(header["user_ids"]) == data.users.ids.to_list()
    assert json.loads(header["spec"])["slug"] == "tie"


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no vectors"):
        export_vectors(fit(ItemKNN(), random_log()), tmp_path / "v.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="could not be written"):
        export_vectors(fit(TIE(), random_log()), tmp_path / "file" / "v.safetensors")
