from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics.lists import ranking
from oakum.errors import DataError
from oakum.metrics.fairness import by_group, item_exposure, worst_share
from oakum.metrics.groups import Groups


def two_groups(a: int, b: int, small: int = 0) -> Groups:
    codes = np.repeat([0, 1, 2], [a, b, small]).astype(np.int32)
    return Groups("half", codes, ("first", "second", "small"))


def test_worst_group_gap_and_ratio_for_goods_and_harms():
    values = np.repeat([0.2, 0.6, 9.0], [100, 100, 3])
    good = by_group(values[:200], two_groups(100, 100), resamples=50)
    assert (good.worst, good.gap, good.worst_to_mean) == ("first", pytest.approx(0.4), pytest.approx(0.5))
    harm = by_group(values, two_groups(100, 100, 3), better="lower", resamples=50)
    assert harm.worst == "second"
    assert harm.left_out == {"small": 3}
    assert harm.worst_to_mean == pytest.approx(0.6 / values.mean())


def test_equal_groups_have_no_gap_and_no_group_is_said():
    same = by_group(np.tile([0.0, 1.0], 100), two_groups(100, 100), resamples=50)
    assert (same.gap, same.worst_to_mean) == (0.0, 1.0)
    assert by_group([1.0, 2.0], two_groups(1, 1)).worst is None
    with pytest.raises(DataError, match="3 queries, the metric 2"):
        by_group([1.0, 2.0], two_groups(2, 1))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=40), st.integers(1, 10))
def test_worst_share_is_the_mean_of_the_worst(values, tenths):
    x = np.sort(np.repeat(values, 10))  # ten copies: the worst tenths are whole numbers of them
    size = tenths * len(values)
    assert worst_share(x, share=tenths / 10, resamples=2).value == pytest.approx(x[-size:].mean(), abs=1e-9)
    good = worst_share(x, share=tenths / 10, better="higher", resamples=2)
    assert good.value == pytest.approx(x[:size].mean(), abs=1e-9)


def test_exposure_of_item_groups_is_discounted_and_adds_up():
    groups = Groups("side", np.array([0, 0, 1], np.int32), ("a", "b"))
    found = item_exposure(ranking([[0, 2], [1, 2]]), 2, groups)
    assert found["a"] == pytest.approx(2 / (2 + 2 / np.log2(3)))
    assert sum(found.values()) == pytest.approx(1)
