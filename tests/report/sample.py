"""An invented audit with every kind of finding: the figures are made up and say nothing about any system."""

from __future__ import annotations

from typing import Any

from oakum.audits.record import AuditReport, Cure, Finding, Plot, SystemResult
from oakum.metrics.estimate import Estimate

HOW = "bootstrap over users, 1000 resamples, 95 %"


def about(value: float, half: float, n: int = 2914, how: str = HOW) -> Estimate:
    """An estimate with a symmetric interval."""
    return Estimate(value, value - half, value + half, n, how)


def _systems() -> list[SystemResult]:
    plan = {"batch_size": 2048, "learning_rate": 0.005, "epochs": 14, "evaluate_every": 2, "patience": 0}
    out = []
    for slug, title, ndcg, noise in (
        ("popularity", "Popularity", 0.0621, 0.0),
        ("item-knn", "ItemKNN", 0.0934, 0.0),
        ("ease", "EASE", 0.1042, 0.0),
        ("bpr-mf", "BPR-MF", 0.0899, 0.0012),
    ):
        out.append(
            SystemResult(
                slug=slug,
                title=title,
                settings={"spec": {"slug": slug, "seed": 0}, "plan": plan if noise else {}, "plugins": []},
                metrics={
                    "ndcg@10": about(ndcg, 0.0041),
                    "recall@20": about(1.42 * ndcg, 0.0059),
                    "hit_rate@10": about(4.1 * ndcg, 0.016),
                },
                seed_noise={"ndcg@10": noise, "recall@20": 1.4 * noise, "hit_rate@10": 4 * noise} if noise else {},
                newcomers={"ndcg@10": about(0.048, 0.011, 214)} if slug == "popularity" else {},
                baseline=slug == "popularity",
                seconds=0.2 if not noise else 41.3,
            )
        )
    return out


def _drill(subject: str, title: str, after: float, loss: float, pca: float) -> Finding:
    clean, attacked = about(0.0008, 0.0005, 2914), about(after, 0.0061)
    shares = (0.003, 0.01, 0.03)
    curve = [about(after * f, 0.0061 * f) for f in (0.12, 0.45, 1.0)]
    cures = [
        Cure(
            slug="vat",
            sentence=f"it takes back 81 % of what the attack won (exposure {after * 19:.2f} %) and changes "
            "NDCG@10 by -1.2 % on clean data.",
            after=about(after * 0.19, 0.0033),
            price=about(-0.012, 0.0071),
        ),
        Cure(
            slug="apr",
            sentence=f"it takes back 22 % of what the attack won (exposure {after * 78:.2f} %) and changes "
            "NDCG@10 by +0.4 % on clean data.",
            after=about(after * 0.78, 0.0058),
            price=about(0.004, 0.0065),
        ),
        Cure(
            slug="pca",
            sentence=f"it takes back {100 * (1 - pca):.0f} % of what the attack won and changes NDCG@10 by "
            "-2.9 % on clean data.",
            after=about(after * pca, 0.0049),
            price=about(-0.029, 0.0064),
        ),
    ]
    lines = [
        {
            "name": name,
            "x": [0.0, *(100 * s for s in shares)],
            "y": [0.08, *(100 * c.value * f for c in curve)],
            "low": [0.03, *(100 * c.low * f for c in curve)],
            "high": [0.13, *(100 * c.high * f for c in curve)],
        }
        for name, f in (("bandwagon-profiles", 1.0), ("average-profiles", 0.42))
    ]
    for c in cures:
        assert c.after is not None
        lines.append(
            {"name": f"bandwagon-profiles with {c.slug}", "x": [3.0], "y": [100 * c.after.value], "low": [100 * c.after.low], "high": [100 * c.after.high]}
        )  # fmt: skip
    grid = [
        {"name": a, "x": ["0.3 %", "1 %", "3 %"], "y": [100 * c.value * f for c in curve]}
        for a, f in (("bandwagon-profiles", 1.0), ("average-profiles", 0.42), ("random-profiles", 0.11))
    ]
    return Finding(
        slug="poisoning-drill",
        title="Fake accounts",
        subject=subject,
        verdict="weak" if loss >= 0.5 else "notice",
        loss=loss,
        sentence=(
            f"{title}: 38 fake accounts (1.3 % of 2,914) put a cold item before 5 % of people. 87 accounts "
            "of the technique "
            f"'bandwagon-profiles' move the exposure of 5 cold items from 0.08 % to {100 * after:.2f} % "
            f"[{100 * attacked.low:.2f} %, {100 * attacked.high:.2f} %] of genuine lists."
        ),
        measure=(
            "T-HR@10: mean over 5 targets of the share of genuine people without the target whose top 10 "
            "holds it; training "
            "and validation items removed; fake accounts never counted"
        ),
        clean=clean,
        attacked=attacked,
        evidence=[
            {
                "technique": a,
                "fake accounts": f"{round(2914 * s)} ({100 * s:.1f} %)",
                "events": round(2914 * s * 23),
                "exposure before": "0.0008 [0.0003, 0.0013]",
                "exposure after": f"{c.value * f:.4f} [{c.low * f:.4f}, {c.high * f:.4f}]",
                "people newly reached": f"{100 * c.value * f * 2.4:.1f} %",
                "log-odds lift": round(4.1 * f + s, 2),
                "apart": "yes",
            }
            for a, f in (("bandwagon-profiles", 1.0), ("average-profiles", 0.42))
            for s, c in zip(shares, curve, strict=True)
        ],
        plots=[
            Plot(
                kind="lines",
                title=f"What fake accounts buy on {title}",
                alt="; ".join(
                    f"{x['name']}: {x['y'][-1]:.2f} % of lists at {x['x'][-1]:.1f} % fake accounts" for x in lines
                ),
                x_label="fake accounts, % of people",
                y_label="lists with a target in the top 10, %",
                series=lines,
            ),
            Plot(
                kind="heat",
                title="Technique by number of accounts",
                alt="Exposure in per cent by technique and share of fake accounts; bandwagon profiles at 3 "
                "% are worst.",
                x_label="fake accounts",
                series=grid,
            ),
        ],
        threat="reads the training log; adds accounts; never sees the model or the test part",
        budget={"users": 87, "clicks": 2001, "per_user": 23, "queries": 0, "targets": 5},
        cures=cures,
        advice="Use 'vat': it takes back most.",
        power="2,914 genuine people, 2 seed(s): exposure below 0.021 % cannot be told from none.",
        reason=f"'apr' does not halve what the attack won on {title}. 'pca' costs more than 2 % of NDCG@10 here.",
        seconds=412.0,
    )


def _stable(subject: str, value: float, floor: float | None, loss: float) -> Finding:
    moved, beside = about(value, 0.006), None if floor is None else about(floor, 0.011)
    return Finding(
        slug="one-event-stability",
        title="One event, many lists",
        subject=subject,
        verdict="weak" if loss >= 0.5 else "notice" if loss >= 0.25 else "fine",
        loss=loss,
        sentence=f"With one random event out of 98,114 removed and the same seed, the lists of {subject} "
        f"agree with the old ones to {value:.3f}.",
        measure="rank-biased overlap of the top 10 (p = 0.9), 1 = the same lists, mean over test users",
        clean=beside,
        attacked=moved,
        evidence=[
            {"comparison": "one event removed, same seed", "overlap": str(moved)},
            *([{"comparison": "same log, other seed", "overlap": str(beside)}] if beside else []),
        ],
        plots=[
            Plot(
                kind="bars",
                title="Agreement of lists",
                alt=f"One event removed: {value:.3f}",
                y_label="rank-biased overlap",
                series=[
                    {
                        "name": "overlap",
                        "x": ["one event removed", *(["other seed"] if beside else [])],
                        "y": [value, *([beside.value] if beside else [])],
                        "low": [moved.low, *([beside.low] if beside else [])],
                        "high": [moved.high, *([beside.high] if beside else [])],
                    }
                ],
            )
        ],
        advice="A model that a seed moves more than an event needs a steadier training." if loss > 0.25 else "",
        power="One random event: an adversary would search for the worst one, so this is a lower bound of the harm.",
        seconds=38.0,
    )


def _others() -> list[Finding]:
    gain = Finding(
        slug="baseline-and-seed-noise",
        title="Better than the best-sellers",
        subject="ease",
        verdict="fine",
        loss=0.0,
        sentence="EASE beats the best baseline (popularity): NDCG@10 0.104 [0.100, 0.108], a paired gain "
        "of 0.0421 [0.0388, 0.0454] (67.8 %).",
        measure="paired difference of NDCG@10 to the best baseline over test users, all items ranked",
        clean=about(0.1042, 0.0041),
        evidence=[
            {"system": s.slug, **{m: str(e) for m, e in s.metrics.items()}, "seed_noise": dict(s.seed_noise)}
            for s in _systems()
        ],
        power="2914 test users: a difference under 0.0033 would not be seen.",
        seconds=0.2,
    )
    churn = Finding(
        slug="churn",
        title="Lists that stay put",
        subject="bpr-mf",
        verdict="notice",
        loss=0.44,
        sentence="Retraining BPR-MF on the same data with another seed changes 40.9 % of the top 10 [40.1 "
        "%, 41.7 %] and the first item of 47.2 % of people.",
        measure="churn@10: share of the top 10 not in the list of the other seed, mean over test users",
        clean=about(0.409, 0.008),
        evidence=[
            {"measure": "churn@10", "value": "0.409 [0.401, 0.417]"},
            {"measure": "jaccard@10", "value": "0.431 [0.422, 0.440]"},
        ],
        advice="Average several seeds, or train longer with a smaller step, before you compare two releases.",
        power="2914 users, 2 seeds compared; one pair of seeds shows the size, not its spread.",
    )
    names = ["popularity", "item-knn", "ease", "bpr-mf"]
    lifts = [4.6, 2.1, 1.9, 2.6]
    popular = Finding(
        slug="popularity-bias",
        title="Beyond the best-sellers",
        subject="item-knn",
        verdict="fine",
        loss=0.24,
        sentence="What ItemKNN shows is 2.10 times as popular as what people had before [2.06, 2.14]; the "
        "most popular 1 % of items fills 18.3 % of the places, and 31.0 % of the catalogue is shown to "
        "anyone.",
        measure="popularity lift: mean popularity of the top 10 over mean popularity of the own history, a "
        "user",
        clean=about(2.1, 0.04),
        evidence=[
            *({"system": s, "lift": f"{v:.2f} [{v - 0.04:.2f}, {v + 0.04:.2f}]", "gini": 0.93 - 0.02 * i, "coverage": f"{3 + 9 * i}.0 %"} for i, (s, v) in enumerate(zip(names, lifts, strict=True))),
            *({"group": g, "users": 728, "ndcg@10": f"0.0{80 + 9 * i} [0.0{76 + 9 * i}, 0.0{84 + 9 * i}]"} for i, g in enumerate(["least active quarter", "second", "third", "most active quarter"][:2])),
        ],
        plots=[
            Plot(
                kind="bars", title="Popularity lift by system", alt="popularity: 4.60; item-knn: 2.10; ease: 1.90; bpr-mf: 2.60",
                y_label="lift (1 = as popular as the history)",
                series=[{"name": "lift", "x": names, "y": lifts, "low": [v - 0.04 for v in lifts], "high": [v + 0.04 for v in lifts]}],
            )
        ],
        power="2,700 test users with a past.",
    )  # fmt: skip
    fresh = Finding(
        slug="newcomers-and-cold-items",
        title="Strangers and new things",
        subject="bpr-mf",
        verdict="notice",
        loss=0.31,
        sentence="A stranger who hands in a history gets 83.0 % of the accuracy that BPR-MF gives people it "
        "was trained on; 12.4 % of the test events are of items it never saw and cannot be recommended, "
        "and 214 test users have no past and get popular items.",
        measure="NDCG@10 of test users asked by history alone, against the same users asked by name",
        clean=about(0.0899, 0.0089, 500),
        attacked=about(0.0746, 0.0082, 500),
        evidence=[
            {"asked": "by name", "ndcg@10": "0.090 [0.081, 0.099]"},
            {"asked": "strangers left without an answer", "ndcg@10": "0.0 %"},
        ],
        advice="Retrain more often, or use a model that reads item content, where the cold share hurts.",
        power="500 test users asked twice.",
    )
    said = [0.012, 0.03, 0.048, 0.066, 0.09, 0.12, 0.16]
    seen = [0.016, 0.027, 0.05, 0.061, 0.099, 0.13, 0.151]
    calibrated = Finding(
        slug="score-calibration",
        title="Scores one can believe",
        subject="ease",
        verdict="fine",
        loss=0.08,
        sentence="After one logistic curve fitted on half of the people, the scores of EASE miss the true "
        "hit rate of the other half by 0.0061 on average, where the mean rate is 0.0742.",
        measure="expected calibration error over 10 equal-sized bins of the top 20, users of the other half",
        clean=about(0.131, 0.003, 1457),
        evidence=[{"scores": "as they are, clipped to [0, 1]", "error": 0.2134}, {"scores": "after one logistic curve", "error": 0.0061}],
        plots=[
            Plot(
                kind="lines", title="What the score says and what happens", alt="Predicted chances from 0.012 to 0.160, observed 0.016 to 0.151",
                x_label="predicted chance", y_label="observed share",
                series=[{"name": "ease", "x": said, "y": seen}, {"name": "perfect", "x": said, "y": said}],
            )
        ],
        advice="Never show a raw score to people.",
        power="2,160 hits among 29,140 places.",
    )  # fmt: skip
    missing = Finding(
        slug="score-calibration",
        title="Scores one can believe",
        subject="popularity",
        verdict="not measured",
        sentence="",
        measure="expected calibration error over 10 equal-sized bins of the top 20, users of the other half",
        reason="The scores of popularity are counts; the logistic curve did not settle with 14 hits.",
    )
    return [churn, fresh, popular, calibrated, gain, missing]


def sample(**changes: Any) -> AuditReport:
    """The whole report; `changes` replace fields."""
    findings = [
        _drill("bpr-mf", "BPR-MF", 0.1184, 0.57, 0.08),
        _stable("bpr-mf", 0.716, 0.583, 0.54),
        _drill("item-knn", "ItemKNN", 0.0712, 0.33, 0.95),
        _stable("item-knn", 0.999, None, 0.0),
        *_others(),
    ]
    findings.sort(key=lambda f: (f.loss is None, -(f.loss or 0.0)))
    pair = lambda a, b, v, p: {
        "a": a, "b": b, "metric": "ndcg@10", "difference": about(v, 0.0033).to_json(), "p": p / 3, "p_corrected": p,
    }  # fmt: skip
    values: dict[str, Any] = {
        "title": "Audit of webshop-2024",
        "data": {
            "name": "webshop-2024",
            "events": 98114,
            "users": 2914,
            "items": 1682,
            "density": 0.02,
            "events_a_user": {"min": 2, "median": 21.0, "mean": 33.7, "p95": 118.0, "max": 611},
            "gini_of_popularity": 0.6312,
            "repeated_pairs": 0,
            "notes": ["3 rows of 98,117 were exact duplicates and were merged."],
            "digest": "9f1c0b52d1e0c6a77f3e2b4d5c6a798081726354aabbccddeeff001122334455",
            "from": "2024-01-02 08:11",
            "to": "2024-06-30 21:47",
        },
        "protocol": {
            "rule": "time",
            "candidates": "all",
            "remove_seen": True,
            "cut": 1_718_064_000_000_000,
            "train_events": 78491,
            "validation_events": 9811,
            "test_events": 9812,
            "test_users": 2914,
            "left_out": [
                "412 people have no event after the cut and are not tested.",
                "2,914 of 3,326 test users were drawn at random for the figures of this run.",
            ],
        },
        "lint": [
            {
                "code": "cold-items",
                "severity": "warning",
                "sentence": "1,217 of 9,812 test events (12 %) are of unseen items.",
                "count": 1217,
            },
            {
                "code": "new-users",
                "severity": "info",
                "sentence": "214 of 2,914 test users (7 %) have no past.",
                "count": 214,
            },
        ],
        "systems": _systems(),
        "comparisons": [
            pair("ease", "popularity", 0.0421, 0.0003),
            pair("ease", "item-knn", 0.0108, 0.0003),
            pair("ease", "bpr-mf", 0.0143, 0.0003),
            pair("item-knn", "popularity", 0.0313, 0.0003),
            pair("bpr-mf", "item-knn", -0.0029, 0.09),
        ],
        "findings": findings,
        "plank": "poisoning-drill bpr-mf",
        "settings": {
            "mode": "quick",
            "seed": 0,
            "seeds": [0, 1],
            "audits": [
                {"slug": "poisoning-drill", "shares": [0.003, 0.01, 0.03], "k": 10},
                {"slug": "churn", "k": 10},
            ],
            "systems": [],
        },
        "versions": {"python": "3.11.7", "oakum": "0.1.0", "numpy": "2.3.1", "torch": "2.13.0"},
        "started": "2024-07-01T06:00:00+00:00",
        "seconds": 287.4,
        "runs": [
            {"name": "bpr-mf seed 0", "seconds": 41.3, "stopped": ""},
            {"name": "bpr-mf seed 1", "seconds": 40.8, "stopped": ""},
        ],
    }
    return AuditReport(**{**values, **changes})
