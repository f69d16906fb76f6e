"""Logs as immutable columns: reading, checking, describing, simulating."""

from oakum.data.dataset import Dataset, Relation, Schema
from oakum.data.domains import Domains, domains, has_domains, item_domain
from oakum.data.interactions import Interactions
from oakum.data.queries import Filter, Queries, Ranking
from oakum.data.ragged import Ids, Ragged
from oakum.data.vocabulary import Vocabulary

__all__ = [
    "Dataset",
    "Domains",
    "Filter",
    "Ids",
    "Interactions",
    "Queries",
    "Ragged",
    "Ranking",
    "Relation",
    "Schema",
    "Vocabulary",
    "domains",
    "has_domains",
    "item_domain",
]
