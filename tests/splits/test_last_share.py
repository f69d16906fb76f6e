from __future__ import annotations

import numpy as np

from oakum.splits import rolling_truth, split
from tests.toys import random_log


def test_the_last_share_of_everybody_is_asked_and_histories_roll_on() -> None:
    data = random_log()
    parts = split(data, "last-share", test=0.2, valid=0.1)
    flat = data.histories
    n = flat.lengths
    asked = np.bincount(parts.test.users, minlength=data.num_users)
    np.testing.assert_array_equal(asked, np.floor(0.2 * n + 1e-9))
    np.testing.assert_array_equal(np.bincount(parts.valid.users, minlength=data.num_users), np.floor(0.1 * n + 1e-9))
    truth = rolling_truth(parts, tail=7)
    assert len(truth) == len(parts.test)
    r = 0
    for user in range(data.num_users):
        row = flat.row(user).tolist()
        for at in range(int(n[user] - asked[user]), int(n[user])):
            assert truth.users[r] == user
            assert truth.relevant.row(r).tolist() == [row[at]]
            assert truth.histories.row(r).tolist() == row[max(0, at - 7) : at]
            r += 1
    assert r == len(truth)
    assert truth.histories.times is not None


def test_a_rolling_request_is_not_shown_what_comes_after() -> None:
    truth = rolling_truth(split(random_log(), "last-share"))
    assert truth.at is not None
    last = truth.histories.offsets[1:] - 1
    assert (truth.histories.times[last] < truth.at).all()
