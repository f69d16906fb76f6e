"""What the words and numbers of the report mean; the page prints those that occur in it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """One entry. pattern: a regular expression that finds it in a report's words; "" for always."""

    name: str
    meaning: str
    pattern: str = ""


TERMS = (
    Term(
        "Plank",
        "One judged measurement of one system. A hull is as tight as its worst plank, so nothing is averaged.",
    ),
    Term(
        "Loss",
        "How bad a plank is, from 0 (sound) to 1 (as bad as it gets): linear between two declared values "
        "of its measure.",
    ),
    Term(
        "Fine, notice, weak, not measured",
        "The verdict that follows from the loss. Fine: nothing to mend. Notice: look at it before a "
        "release. Weak: mend "
        "it. Not measured: the run could not tell, and says why.",
    ),
    Term(
        "[low, high]",
        "The 95 % interval of the number before it: the figures that other people of the same kind could "
        "have given. "
        "Resampled over people (bootstrap) unless stated otherwise.",
    ),
    Term(
        "Paired difference",
        "The mean over test users of (system a − system b) for the same person. It shows gains that two "
        "separate "
        "intervals would hide.",
        r"paired",
    ),
    Term(
        "p, corrected",
        "The chance of a paired difference at least this large if there were none, made larger for the "
        "number of "
        "comparisons (Holm's correction). Below 0.05 the difference is said to hold.",
        r"p_corrected|Holm",
    ),
    Term(
        "Seed noise",
        "Standard deviation of a metric over retrainings that differ in the random seed only.",
        r"seed",
    ),
    Term(
        "NDCG@k",
        "Normalised discounted cumulative gain. A relevant item at place i counts 1 / log2(i + 1); the sum "
        "over the top k "
        "is divided by that of the best list possible. 0 to 1, higher is better.",
        r"ndcg",
    ),
    Term(
        "Recall@k",
        "Share of a person's relevant items that are in the top k. 0 to 1, higher is better.",
        r"recall",
    ),
    Term("Precision@k", "Share of the top k that is relevant. 0 to 1, higher is better.", r"precision"),
    Term(
        "Hit rate@k",
        "Share of people with at least one relevant item in the top k. 0 to 1, higher is better.",
        r"hit_rate",
    ),
    Term(
        "MRR@k",
        "Mean of 1 / place of the first relevant item (0 if it is not in the top k). 0 to 1, higher is better.",
        r"mrr",
    ),
    Term(
        "MAP@k",
        "Mean over people of the average precision at the places of relevant items. 0 to 1, higher is better.",
        r"\bmap\b",
    ),
    Term(
        "T-HR@k (exposure)",
        "Target hit rate: for each item that the adversary pushes, the share of genuine people without it "
        "whose top k "
        "holds it; the mean over the targets. 0 to 1, lower is better. Fake accounts are never counted.",
        r"T-HR|exposure",
    ),
    Term("Reach", "Share of genuine people who see any pushed item under attack and saw none before.", r"reach"),
    Term(
        "Log-odds lift",
        "logit(exposure after) − logit(exposure before), with half a case added to each side. 0: nothing changed.",
        r"log-odds",
    ),
    Term(
        "Price of a cure",
        "Relative change of accuracy on clean data once the cure is in place: −2 % means that two per cent are lost.",
        r"cure",
    ),
    Term(
        "Rank-biased overlap",
        "Agreement of two lists, top places first: weights fall by the factor p from place to place. 1: "
        "the same list; 0: "
        "nothing in common.",
        r"rank-biased|\brbo\b",
    ),
    Term(
        "Churn@k",
        "Share of the top k that is not in the other list's top k. 0: nobody's list moved.",
        r"churn",
    ),
    Term("Jaccard@k", "Items in both lists over items in either, of the top k. 0 to 1.", r"jaccard"),
    Term(
        "Popularity lift",
        "Mean popularity of what is shown over mean popularity of what the person had before. 1: as "
        "popular as their past; "
        "above 1: pushed towards best-sellers.",
        r"popularity lift|\blift\b",
    ),
    Term(
        "Gini",
        "Inequality of exposure between items: 0 if all are shown equally often, near 1 if a few take all places.",
        r"gini",
    ),
    Term("Coverage", "Share of the catalogue that is shown to anyone at all.", r"coverage"),
    Term(
        "Expected calibration error",
        "Mean distance between the chance that a score claims and the share that came true, over bins of "
        "equal size. 0 is "
        "perfect.",
        r"calibration",
    ),
    Term(
        "Cold item",
        "An item that the training never saw; no model that knows items by their events alone can rank it.",
        r"cold",
    ),
    Term(
        "Newcomer",
        "A person without any training event, known at most by a history that is handed in.",
        r"newcomer|stranger",
    ),
)


def terms_in(text: str) -> list[Term]:
    """The terms that a text needs."""
    return [t for t in TERMS if not t.pattern or re.search(t.pattern, text, re.IGNORECASE)]
