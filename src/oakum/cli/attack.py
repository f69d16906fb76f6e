"""`oakum attack`."""

from __future__ import annotations

from typing import Annotated

import typer

from oakum.cli.common import OnBad, read_split, settings, show


def run(
    technique: Annotated[str, typer.Argument(help="Slug of an attack; see `oakum systems`.")],
    log: Annotated[str, typer.Argument(help="A log, or a folder with train and test files.")],
    system: Annotated[str, typer.Option(help="The victim, by slug.")],
    target: Annotated[
        list[str], typer.Option(help="An item id to promote; repeat for several (default: five cold items).")
    ] = [],  # noqa: B006
    users: Annotated[str, typer.Option(help="Fake accounts: a number, or a share such as 1%.")] = "1%",
    edits: Annotated[int, typer.Option(help="Edited rows, for techniques that edit the log or item texts.")] = 1,
    items: Annotated[int, typer.Option(help="Added items, for techniques that write some.")] = 1,
    norm: Annotated[
        float, typer.Option(help="How far a reworded text may move: 1 − its cosine with the old one.")
    ] = 0.3,
    perplexity: Annotated[
        float, typer.Option(help="Perplexity of a written text at most, in medians of the catalogue's; 0: no limit.")
    ] = 0.0,
    queries: Annotated[
        int, typer.Option(help="Looks at the victim that the technique may have, for those that look.")
    ] = 0,
    defence: Annotated[str, typer.Option(help="A defence in place, by slug.")] = "",
    set_: Annotated[list[str], typer.Option("--set", help="name=value of the victim or of its plan.")] = [],  # noqa: B006
    split: Annotated[str, typer.Option(help="auto, time, leave-last, holdout or none.")] = "auto",
    seeds: Annotated[int, typer.Option(help="Seeds fitted before and after.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    on_bad: OnBad = "refuse",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Attack a system on a log: exposure of the targets before and after, with intervals, and the budget as counted."""
    from oakum.api import spec_from_text
    from oakum.attacks.base import budget_of, share_of
    from oakum.attacks.drill import attack, defence_of
    from oakum.audits.scorecard import FULL, audit_plan
    from oakum.catalogue import load_class
    from oakum.engine.fit import spec_is_learned
    from oakum.engine.progress import Shown

    spec, plan = spec_from_text(system, settings(set_))
    technique_ = load_class(technique, "attack")()
    parts = read_split(log, split, seed, on_bad=on_bad)
    train = parts.train
    if spec_is_learned(spec):
        plan = {**audit_plan(spec, train, FULL), "patience": 0, **plan}
    budget = budget_of(
        technique_, train, users=share_of(users, train) / int((train.user_counts > 0).sum()),
        targets=max(1, len(target) or 5), edits=edits, items=items, norm=norm, perplexity=perplexity, queries=queries,
    )  # fmt: skip
    with Shown(f"Attacking {system}") as progress:
        result = attack(
            technique_, spec, parts, targets=list(target) or None, budget=budget, plan=plan or None,
            defence=defence_of(defence) if defence else None, seeds=[seed + i for i in range(seeds)], seed=seed,
            progress=progress,
        )  # fmt: skip
    spent = f"{result.cost.edits} edited rows" if technique_.untargeted else ""
    if result.goal == "copy":
        spent = f"{result.cost.queries} queries"
    elif technique_.writes:
        spent = f"{result.cost.edits} reworded and {result.cost.items} added items, targets {list(result.targets)}"
    lines = [
        f"{technique} against {system}: {spent}"
        if spent
        else f"{technique} against {system}: {result.cost.users} accounts, {result.cost.clicks} events, targets {list(result.targets)}"
    ]
    lines += [f"{n:10} before {result.before[n]}   after {result.after[n]}" for n in result.before]
    lines += [f"{n:10} log-odds lift {result.lift[n]}   people newly reached {result.reach[n]}" for n in result.lift]
    lines += [f"lists that agree, {n:24} {e}" for n, e in result.agreement.items()]
    if result.quality is not None:
        lines.append(f"NDCG@10 of genuine people after over before {result.quality}")
    show(result.to_json(), as_json, lines)
