"""One sentence says what a system needs, what the log has, and which systems would work."""

from __future__ import annotations

from dataclasses import replace

import pytest

from oakum.catalogue import entries, load_class
from oakum.engine.fit import fit
from oakum.errors import DataError
from oakum.needs import NEEDS, check, found, systems_for
from tests.toys import random_log


def bare():  # type: ignore[no-untyped-def]
    data = random_log()
    return replace(data, interactions=data.interactions.with_times(None), tables={}, name="bare")


def test_every_entry_needs_only_what_the_list_knows() -> None:
    assert all(set(e.needs) <= set(NEEDS) for e in entries().values())
    assert all(e.needs for e in entries().values())


def test_what_a_log_has_is_found() -> None:
    assert found(bare()) == {"interactions"}
    assert {"interactions", "times", "text", "metadata", "domains"} <= found(random_log())


def test_a_model_without_what_it_needs_is_refused_before_training_with_other_systems_named() -> None:
    with pytest.raises(DataError) as caught:
        fit(load_class("markov")(), bare())
    words = str(caught.value)
    assert "'markov' needs the order of events" in words
    assert "the log 'bare' has only events" in words
    assert "add a column 'timestamp'" in words
    assert "Systems that work on this log: popularity, item-knn" in words
    assert "sasrec" not in words.partition("Systems that work")[2]


def test_the_systems_for_a_log_are_those_whose_needs_it_meets() -> None:
    able = systems_for(bare())
    assert "item-knn" in able
    assert "markov" not in able
    for slug in able:
        check(load_class(slug)(), bare())
