"""Hyper-parameter search over a spec's own ranges, by Optuna, on the validation part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from oakum.api import spec_from_text
from oakum.catalogue import load_class
from oakum.engine.fit import fit, spec_is_learned
from oakum.engine.plan import Plan
from oakum.engine.validate import Validation
from oakum.errors import MissingExtra, OakumError, ProtocolError
from oakum.parameters import Field, fields
from oakum.splits.protocol import Split


def space(slug: str) -> list[Field]:
    """The hyper-parameters that name a search range or choices: of the system, and of its plan where it has one."""
    cls = load_class(slug, "model")
    out = [f for f in fields(cls) if (f.range and f.range.search) or f.choices]
    if hasattr(cls(), "plan"):
        out += [f for f in fields(Plan) if f.name in ("learning_rate", "batch_size")]
    return out


def tune(
    slug: str, parts: Split, *, trials: int = 20, fixed: Mapping[str, str] | None = None, metric: str = "ndcg@10", seed: int = 0,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # fmt: skip
    """Try settings; the first is the default, so that tuning never ends below it. Returns best, value, trials, history."""
    try:
        import optuna
    except ModuleNotFoundError:
        raise MissingExtra("Tuning", "tune") from None
    if parts.valid is None or not len(parts.valid):
        raise ProtocolError("Tuning needs a validation part; use a split that has one (time, leave-last, holdout).")
    validation = Validation(parts, seed=seed)
    searched = [f for f in space(slug) if f.name not in (fixed or {})]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    history: list[dict[str, Any]] = []

    def objective(trial: Any) -> float:
        chosen: dict[str, Any] = {}
        for f in searched:
            if f.choices:
                chosen[f.name] = trial.suggest_categorical(f.name, list(f.choices))
            else:
                assert f.range is not None
                assert f.range.search is not None
                low, high = f.range.search
                if f.type is int:
                    chosen[f.name] = trial.suggest_int(f.name, int(low), int(high), log=f.range.log)
                else:
                    chosen[f.name] = trial.suggest_float(f.name, low, high, log=f.range.log)
        texts = {**{k: str(v) for k, v in chosen.items()}, **(fixed or {})}
        spec, plan = spec_from_text(slug, texts)
        try:
            fitted = fit(spec, parts, plan=plan or None, seed=seed)
        except OakumError as error:
            raise optuna.TrialPruned(str(error)) from None
        value = validation.measure(fitted.model, metric)
        history.append({"settings": chosen, "value": value})
        tell(f"{len(history)}/{trials}: {metric} {value:.4f}  {chosen}")
        return value

    spec = load_class(slug, "model")()
    plan = spec.plan() if spec_is_learned(spec) else None
    first = {f.name: getattr(spec, f.name) if hasattr(spec, f.name) else getattr(plan, f.name) for f in searched}
    inside = all(f.choices or f.range.search[0] <= first[f.name] <= f.range.search[1] for f in searched)  # type: ignore[union-attr,index]
    if inside:
        study.enqueue_trial(first)
    study.optimize(objective, n_trials=trials)
    return {
        "best": study.best_params,
        "value": study.best_value,
        "metric": metric,
        "trials": len(study.trials),
        "history": history,
    }
