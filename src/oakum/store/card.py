"""The card of a saved model: what it is, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oakum.engine.fitted import Fitted


def card_of(fitted: Fitted) -> str:
    """Markdown for people; nothing reads it back."""
    from oakum.catalogue import entry

    known = entry(fitted.spec.slug)
    record = fitted.record
    settings = "\n".join(f"- {k}: {v}" for k, v in fitted.spec.to_json().items() if k != "slug")
    plan = "\n".join(f"- {k}: {v}" for k, v in record.plan.items() if v is not None) or "- computed in closed form"
    looks = [h for h in record.history if "validation" in h]
    valid = ""
    if looks:
        from oakum.metrics import metric

        name = next(iter(looks[-1]["validation"]))
        best = (max if metric(name).better != "lower" else min)(h["validation"][name] for h in looks)
        valid = f"\nBest {name} on the validation part: {best:.4f}.\n"
    plugins = "".join(f"- trained with {p}\n" for p in record.plugins)
    notes = "".join(f"- {n}\n" for n in known.deviations)
    return f"""# {known.title}

{known.summary}

- system: `{fitted.spec.slug}` ({known.paper or "no paper"})
- data: {record.data_name}, SHA-256 {record.data}
- {len(fitted.users):,} users, {len(fitted.items):,} items, {len(fitted.histories.items):,} events
- seed {record.seed}, {record.seconds:.1f} s, {record.started}, versions {record.versions}
- newcomers: {known.folds_in or "popular items"}
{plugins}{valid}
## Settings
{settings}

## Training
{plan}

## Where it differs from the paper
{notes or "- nothing known"}

## Limits
Items without a training event are never recommended. The figures above come from the data named; measure on your own
with `oakum evaluate`, and its weak points with `oakum audit`.
"""
