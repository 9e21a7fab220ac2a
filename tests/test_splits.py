import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixlib.datasets import Interactions
from mixlib.splits import random_split, sequence_split, user_split, windows


def history(*items, timestamps=None, user=0, **more):
    stamps = None if timestamps is None else np.array(timestamps)
    return Interactions(np.full(len(items), user), np.array(items), stamps, n_items=20, **more)


def pairs(part):
    return set(zip(part.users.tolist(), part.items.tolist(), strict=True))


def parts(split):
    return split.train, split.validation, split.test


# --- windows


def test_windows_are_cut_from_the_newest_backwards():
    assert windows(history(1, 2, 3, 4, 5, 6, 7), 3, 1).items.tolist() == [[0, 0, 1], [2, 3, 4], [5, 6, 7]]


def test_windows_that_are_too_short_are_dropped():
    assert windows(history(1, 2, 3, 4, 5, 6, 7), 3, 2).items.tolist() == [[2, 3, 4], [5, 6, 7]]
    assert windows(history(1, 2, 3, 4, 5), 3, 2).items.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_history_that_just_fits_needs_no_padding():
    assert windows(history(1, 2, 3), 3, 3).items.tolist() == [[1, 2, 3]]


def test_a_user_with_one_interaction_gives_one_window_or_none():
    assert windows(history(9), 3, 1).items.tolist() == [[0, 0, 9]]
    assert windows(history(9), 3, 2).items.shape == (0, 3)


def test_windows_come_by_user_and_follow_time_not_file_order():
    made = Interactions(np.array([3, 0, 3, 0, 3]), np.array([1, 2, 3, 4, 5]), np.array([30, 2, 10, 1, 20]))
    cut = windows(made, 2, 1)
    assert cut.items.tolist() == [[4, 2], [0, 3], [5, 1]] and cut.users.tolist() == [0, 3, 3]
    assert (cut.n_users, cut.n_items) == (4, 5)


def test_ties_keep_the_order_of_the_file():
    assert windows(history(5, 4, 3, 2, 1, timestamps=[1, 0, 1, 0, 1]), 5, 1).items.tolist() == [[4, 2, 5, 3, 1]]


def test_shuffling_moves_ties_only():
    made = history(*range(1, 13), timestamps=[0] * 6 + [1] * 6)
    cut = windows(made, 12, 1, shuffle_ties=0).items[0]
    assert cut.tolist() != list(range(1, 13))
    assert sorted(cut[:6]) == list(range(1, 7)) and sorted(cut[6:]) == list(range(7, 13))
    assert windows(made, 12, 1, shuffle_ties=0).items[0].tolist() == cut.tolist() != windows(made, 12, 1, shuffle_ties=1).items[0].tolist()


def test_rows_in_time_order_have_no_ties_to_shuffle():
    made = history(*range(1, 13))  # no timestamps: the order of the rows is the order in time
    assert windows(made, 12, 1, shuffle_ties=0).items[0].tolist() == list(range(1, 13))


def test_interactions_without_order_cannot_be_cut():
    with pytest.raises(ValueError, match="books has no order in time: it can be factorized, but not cut into sequences"):
        windows(history(1, 2, name="books", ordered=False), 3, 1)


@pytest.mark.parametrize(("longest", "shortest"), [(3, 4), (3, 0), (0, 0), (-1, -1)])
def test_impossible_lengths_are_an_error(longest, shortest):
    with pytest.raises(ValueError, match="1 <= min_length <= max_length must hold"):
        windows(history(1, 2), longest, shortest)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(0, 4)), max_size=40), st.integers(1, 6), st.data())
def test_windows_agree_with_slicing_every_history(rows, longest, data):
    shortest = data.draw(st.integers(1, longest))
    users, items, times = (np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)) if rows else [np.zeros(0, np.int64)] * 3
    cut = windows(Interactions(users, items, times, n_users=4, n_items=9), longest, shortest)
    expected = []
    for user in range(4):
        mine = [item for u, item, _ in sorted(rows, key=lambda row: row[2]) if u == user]
        chunks = [mine[max(0, end - longest) : end] for end in range(len(mine), 0, -longest)]
        expected += [(user, [0] * (longest - len(c)) + c) for c in reversed(chunks) if len(c) >= shortest]
    assert list(zip(cut.users.tolist(), cut.items.tolist(), strict=True)) == expected


# --- splits


def test_random_split_deals_every_pair_once(tiny):
    split = random_split(tiny)
    total = pairs(tiny)
    sizes = [len(part) for part in parts(split)]
    assert sum(sizes) == len(total) and set.union(*(pairs(part) for part in parts(split))) == total
    assert [size / len(total) for size in sizes] == pytest.approx([0.8, 0.1, 0.1], abs=2 / len(total))
    assert all((part.n_users, part.n_items) == (tiny.n_users, tiny.n_items) for part in parts(split))


def test_a_repeated_pair_counts_once_where_it_first_occurs():
    made = Interactions(np.zeros(6, int), np.array([1, 2, 1, 3, 2, 4]), np.arange(6))
    split = random_split(made, (1, 0, 0))
    assert split.train.items.tolist() == [1, 2, 3, 4] and split.train.timestamps.tolist() == [0, 1, 3, 5]


def test_user_split_keeps_users_whole(tiny):
    split = user_split(tiny)
    seen = [set(part.users.tolist()) for part in parts(split)]
    assert [len(s) for s in seen] == [48, 6, 6] and len(set.union(*seen)) == 60
    for part, users in zip(parts(split), seen, strict=True):
        np.testing.assert_array_equal(part.items, tiny.items[np.isin(tiny.users, list(users))])


def test_sequence_split_keeps_users_whole(tiny):
    split = sequence_split(tiny, 10, 5)
    train, validation, test = (set(part.users.tolist()) for part in parts(split))
    assert not train & validation and not train & test and not validation & test
    whole = windows(tiny, 10, 5)
    assert sum(len(part) for part in parts(split)) == len(whole)


@pytest.mark.parametrize("deal", [random_split, user_split])
def test_a_seed_decides_the_split(deal, tiny):
    first, again, other = (deal(tiny, seed=seed).test for seed in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint


@pytest.mark.parametrize("deal", [random_split, user_split])
def test_the_published_fractions_are_possible(deal, tiny):
    whole, dealt = parts(deal(tiny)), parts(deal(tiny, (0.95, 0.025, 0.025)))
    size = [len(part) for part in dealt] if deal is random_split else [len(set(part.users.tolist())) for part in dealt]
    assert size == pytest.approx([0.95 * sum(size), 0.025 * sum(size), 0.025 * sum(size)], abs=1) and min(size) > 0
    assert sum(map(len, dealt)) == sum(map(len, whole))


@pytest.mark.parametrize("fractions", [(0.8, 0.2), (0.8, 0.3, -0.1), (0.8, float("nan"), 0.1), (0.8, 0.1, 0.2), (), (0.7, 0.1, 0.1, 0.1)])
@pytest.mark.parametrize("deal", [random_split, user_split])
def test_fractions_that_do_not_sum_to_one_are_an_error(deal, fractions, tiny):
    with pytest.raises(ValueError, match="fractions must be three shares that sum to 1"):
        deal(tiny, fractions)


def test_a_part_without_windows_is_an_error_that_says_what_to_do(tiny):
    with pytest.raises(ValueError, match="no user in train has 500 interactions or more: lower min_length"):
        sequence_split(tiny, 500, 500)
