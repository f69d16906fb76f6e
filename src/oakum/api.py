"""`fit` and `systems` as users call them: by slug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oakum.catalogue import Entry, entries, load_class
from oakum.data import Dataset
from oakum.engine.fit import fit as fit_spec
from oakum.engine.fit import spec_is_learned
from oakum.engine.fitted import Fitted
from oakum.engine.plan import Plan
from oakum.engine.progress import Progress
from oakum.errors import ParameterError, nearest
from oakum.parameters import Spec, fields
from oakum.splits.protocol import Split


def systems(kind: str | None = None) -> list[Entry]:
    """All systems of the catalogue, or those of one kind (model, plugin, attack, defence, audit)."""
    return [e for e in entries().values() if kind is None or e.kind == kind]


def fit(
    system: str | Spec,
    data: Dataset | Split,
    *,
    plugins: Sequence[str | Spec] = (),
    plan: Plan | Mapping[str, Any] | None = None,
    init: Fitted | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **settings: Any,
) -> Fitted:
    """Train a system by slug or spec. `settings` are hyper-parameters of the system or of its plan, by name.

    >>> model = fit("ease", data, l2=100.0)
    >>> model = fit("lightgcn", parts, num_layers=2, learning_rate=5e-3, plugins=["vat"])
    """
    if isinstance(system, str):
        cls = load_class(system, "model")
        own, of_plan = divide(cls, settings)
        spec = cls.make(**own)
        if of_plan and not spec_is_learned(spec):
            raise ParameterError(f"'{spec.slug}' is computed in closed form and has no {', '.join(of_plan)}.")
        plan = plan if not of_plan else {**dict(plan or {}), **of_plan}  # type: ignore[arg-type]
    else:
        spec = system.replace(**settings) if settings else system
    parts = [load_class(p, "plugin")() if isinstance(p, str) else p for p in plugins]
    return fit_spec(spec, data, plan=plan, plugins=parts, init=init, seed=seed, progress=progress)


def divide(cls: type[Spec], settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that belong to the system, and those that belong to its plan; an unknown name suggests the nearest."""
    own = {f.name for f in fields(cls)}
    plan = {f.name for f in fields(Plan)} if hasattr(cls, "plan") else set()
    for name in settings:
        if name not in own | plan:
            raise ParameterError(f"{cls.__name__} has no parameter '{name}'.{nearest(name, own | plan)}")
    return (
        {k: v for k, v in settings.items() if k in own},
        {k: v for k, v in settings.items() if k not in own},
    )


def spec_from_text(slug: str, settings: Mapping[str, str]) -> tuple[Spec, dict[str, Any]]:
    """A spec and plan values from `name=value` texts of a command line."""
    cls = load_class(slug, "model")
    own, of_plan = divide(cls, settings)
    spec: Spec = cls.parse(own)
    values: dict[str, Any] = {}
    if of_plan:
        parsed = Plan.parse(of_plan)
        values = {k: getattr(parsed, k) for k in of_plan}
    if values and not spec_is_learned(spec):
        raise ParameterError(f"'{slug}' is computed in closed form and has no {', '.join(values)}.")
    return spec, values
