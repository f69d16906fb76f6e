"""`fit`: a spec and a log become a recommender that answers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oakum.data import Dataset, Schema
from oakum.engine.closed import ClosedForm
from oakum.engine.fitted import Fitted
from oakum.engine.plan import Plan
from oakum.engine.progress import Progress, Silent
from oakum.engine.record import Record
from oakum.errors import DataError, MissingExtra, ParameterError
from oakum.needs import check
from oakum.parameters import Spec
from oakum.seeds import derive
from oakum.splits.protocol import Split


def plan_of(spec: Spec, plan: Plan | Mapping[str, Any] | None = None, plugins: Sequence[Spec] = ()) -> Plan:
    """The training plan of a spec: its paper's, with the given values replaced.

    Values that name a step or an optimiser, and plug-ins, take those of `ordinary`: the plan of batches that goes with a
    plan of steps of its own, where a spec has one.
    """
    if isinstance(plan, Plan):
        return plan
    own = getattr(spec, "plan", None)
    if plugins or not {"step", "optimiser"}.isdisjoint(plan or {}):
        own = getattr(spec, "ordinary", own)
    return (own() if own is not None else Plan()).replace(**(plan or {}))


def fit(
    spec: Spec,
    data: Dataset | Split,
    *,
    plan: Plan | Mapping[str, Any] | None = None,
    plugins: Sequence[Spec] = (),
    init: Fitted | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Train a system.

    data: a `Dataset` (all of it is training data, nothing stops early) or a `Split` (trains on `split.train`, stops
    on `split.valid` where there is one). plan: a whole plan, or values that replace those of the spec's own.
    plugins: specs of training-time additions, in order. init: start from these weights. Same seed, same result.

    Raises `DataError` where the data lack what the system needs, `MissingExtra` where torch is needed and absent.
    """
    split = data if isinstance(data, Split) else None
    train = data.train if isinstance(data, Split) else data
    if not len(train):
        raise DataError(f"There is nothing to learn from: the training part of '{train.name}' has no events.")
    check(spec, train)
    progress = progress or Silent()
    record = Record(system=spec.to_json(), data_name=train.name, seed=seed)
    schema = schema_of(spec, train)
    began = time.monotonic()
    try:
        if not spec_is_learned(spec):
            if plugins:
                raise ParameterError(
                    f"'{spec.slug}' is computed in closed form, so no plug-in can train along with it."
                )
            model = spec.build(schema)
            model.fit(train, seed=seed, progress=progress.update)
            record.seconds = round(time.monotonic() - began, 3)
            return Fitted(spec, model, schema, train, record)
        return _fit_learned(
            spec, schema, train, split, plan_of(spec, plan, plugins), plugins, init, seed, record, progress
        )
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise MissingExtra(f"The system '{spec.slug}'", "torch") from None
        raise


def fit_again(fitted: Fitted, data: Dataset, *, seed: int | None = None, progress: Progress | None = None) -> Fitted:
    """Train the same system on other data, with the plan, the plug-ins and (by default) the seed it was trained with; what
    guards it is fitted again too."""
    from oakum.catalogue import load_class

    record = fitted.record
    plugins = [load_class(str(p["slug"]), "plugin").from_json(p) for p in record.plugins]
    again = fit(
        fitted.spec,
        data,
        plan=Plan.from_json(record.plan) if record.plan else None,
        plugins=plugins,
        seed=record.seed if seed is None else seed,
        progress=progress,
    )
    for defence, _ in fitted.guards:
        again = again.behind(defence, data)
    return again


def schema_of(spec: Spec, data: Dataset) -> Schema:
    """The sizes that a system is built from, with those that only it asks for."""
    own = getattr(spec, "sizes", None)
    return data.schema if own is None else replace(data.schema, sizes=dict(own(data)))


def spec_is_learned(spec: Spec) -> bool:
    """Whether a system trains by gradients (it brings a plan) or is computed in closed form."""
    return hasattr(spec, "plan")


def _fit_learned(
    spec: Spec,
    schema: Any,
    train: Dataset,
    split: Split | None,
    plan: Plan,
    plugins: Sequence[Spec],
    init: Fitted | None,
    seed: int,
    record: Record,
    progress: Progress,
) -> Fitted:
    import torch

    from oakum.engine.train import Trainer
    from oakum.engine.validate import Validation

    record.plan = plan.to_json()
    record.plugins = [p.to_json() for p in plugins]
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(seed, "build"))
            model = spec.build(schema)
            if isinstance(model, ClosedForm):
                raise ParameterError(f"'{spec.slug}' brings a training plan but builds a closed-form model.")
            parts = [p.build(schema_of(p, train)) for p in plugins]
            if init is not None:
                model.resize(init.model.state_dict())
                model.load_state_dict(init.model.state_dict())
            validation = None
            if split is not None and split.valid is not None and len(split.valid):
                validation = Validation(split, seed=seed)
            trainer = Trainer(model, parts, train, validation, plan, seed, record, progress)
            trainer.train()
    finally:
        torch.set_num_threads(threads)
    fitted = Fitted(spec, model, schema, train, record)
    fitted.plugins = tuple(parts)
    fitted.step = trainer.stepper
    return fitted
