"""Every plug-in works over every learned model, and at weight 0 is not there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oakum.catalogue import entries, load_class  # noqa: E402
from oakum.engine.fit import fit, schema_of  # noqa: E402
from oakum.engine.learner import Model  # noqa: E402
from oakum.errors import ParameterError  # noqa: E402
from oakum.parameters import fields  # noqa: E402
from tests.contracts.test_models import LEARNED, spec_of  # noqa: E402
from tests.toys import random_log  # noqa: E402

PLUGINS = [s for s, e in entries().items() if e.kind == "plugin"]
PLAN = {"epochs": 2, "batch_size": 128, "learning_rate": 0.01, "step": None}


def plugin(slug: str, **more: object) -> Any:
    """The plug-in with the small settings of its contract, acting from the first epoch."""
    cls = load_class(slug)
    begin = {"begin": 0} if any(f.name == "begin" for f in fields(cls)) else {}
    return cls.from_json({**begin, **(entries()[slug].contract or {}).get("set", {}), **more})


def refuses(slug: str, model: str) -> bool:
    """Whether a plug-in that needs vectors meets a system that compares none."""
    built: Any = spec_of(model).build(schema_of(spec_of(model), random_log()))
    plain = type(built).represent_query is Model.represent_query or type(built).item_table is Model.item_table
    return bool((entries()[slug].contract or {}).get("vectors")) and plain


@pytest.mark.parametrize("model", LEARNED)
@pytest.mark.parametrize("slug", PLUGINS)
def test_acts_on_any_model(slug: str, model: str) -> None:
    data = random_log()
    if refuses(slug, model):
        with pytest.raises(ParameterError, match="compares a query with item vectors"):
            fit(spec_of(model), data, plan=PLAN, seed=1, plugins=[plugin(slug)])
        return
    plain = fit(spec_of(model), data, plan=PLAN, seed=1)
    acted = fit(spec_of(model), data, plan=PLAN, seed=1, plugins=[plugin(slug)])
    same = [
        torch.equal(a, b)
        for a, b in zip(plain.model.state_dict().values(), acted.model.state_dict().values(), strict=True)
    ]
    assert not all(same)
    assert all(np.isfinite(v) for v in acted.record.history[-1]["losses"].values())


@pytest.mark.parametrize("model", LEARNED)
@pytest.mark.parametrize("slug", PLUGINS)
def test_weight_zero_is_no_plugin(slug: str, model: str) -> None:
    data = random_log()
    plain = fit(spec_of(model), data, plan=PLAN, seed=1)
    off = fit(spec_of(model), data, plan=PLAN, seed=1, plugins=[plugin(slug, gamma=0.0)])
    for a, b in zip(plain.model.state_dict().values(), off.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_a_closed_form_takes_no_plugin() -> None:
    with pytest.raises(ParameterError, match="closed form"):
        fit(spec_of("ease"), random_log(), plugins=[load_class("vat")()])
