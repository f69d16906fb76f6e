"""Train, measure, attack and mend on a simulated market: the tour as a program."""

from __future__ import annotations

import oakum
from oakum.data.simulate import Market, simulate


def main() -> None:
    """About ten seconds on one core."""
    parts = oakum.split(simulate(Market(users=300, items=200, events=9000), seed=1))
    model = oakum.fit("ease", parts, l2=50.0)
    found = oakum.evaluate(model, parts)
    print("NDCG@10", found.metrics["ndcg@10"])
    print("a newcomer gets", [i["item"] for i in model.recommend(history=["i000003", "i000007"], k=3)[0]["items"]])
    won = oakum.attack("bandwagon-profiles", "ease", parts, users=0.05)
    print("exposure before", won.before["t_hr@50"], "and after", won.after["t_hr@50"], "at", won.cost.users, "accounts")
    _, marks = oakum.defend("pca", "ease", parts)
    print(len(marks.flagged), "accounts would be taken out by PCA")


if __name__ == "__main__":
    main()
