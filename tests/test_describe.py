import base64
import io
import re

import numpy as np
import pandas as pd
import papermill
import pytest

from mixlib import describe, splits
from mixlib.datasets import Interactions


@pytest.mark.filterwarnings("ignore")  # of papermill and the kernel's client
def test_a_parameter_that_papermill_only_warns_of_ends_the_notebook(tmp_path, request):
    for name in ("00-one-vector", "01-datasets"):
        with pytest.raises(papermill.PapermillExecutionError, match="no parameter 'sed': did you mean 'seed'"):
            papermill.execute_notebook(request.config.rootpath / "notebooks" / f"{name}.ipynb", tmp_path / "ran.ipynb", {"sed": 1},
                                       progress_bar=False)  # fmt: skip


def copies(timestamps=None, **options):
    """Six users with items 1, 2, then one of 3..8; items 1 and 2 share all their users, 3..8 have one user each."""
    items = np.array([[1, 2, 3 + user] for user in range(6)])
    return Interactions(np.repeat(np.arange(6), 3), items.ravel(), timestamps, **options)


def test_items_with_the_same_users_are_near_twins():
    found = describe.near_twins(copies())
    assert found["items with a near-twin"] == 2 / 8 and found["consecutive pairs that are near-twins"] == 1 / 2
    assert 0 < found["the same in random order"] < 0.7


def test_rare_items_are_no_twins_however_alike():
    assert describe.near_twins(copies(), users=7)["items with a near-twin"] == 0
    rare = Interactions(np.zeros(2, int), np.array([1, 2]))
    assert describe.near_twins(rare)["items with a near-twin"] == 0 < describe.near_twins(rare, users=1)["items with a near-twin"]


def test_near_twins_are_found_among_more_items_than_are_looked_at_together():
    """Every two neighbours of 2,000 items share all of their five users."""
    users = np.repeat(np.arange(5000), 2)
    items = 1 + 2 * (np.arange(5000) // 5)[:, None] + [0, 1]
    pairs = describe.twin_pairs(Interactions(users, items.ravel()))
    one, other = np.divmod(np.sort(pairs), 2001)
    assert one.tolist() == list(range(1, 2001)) and other.tolist() == [item + 1 if item % 2 else item - 1 for item in one]


def test_near_twins_in_a_row_follow_time_and_not_the_file():
    late = np.tile([0, 2, 1], 6)  # the twin comes last
    assert describe.near_twins(copies(late))["consecutive pairs that are near-twins"] == 0
    assert np.isnan(describe.near_twins(copies(ordered=False))["consecutive pairs that are near-twins"])


@pytest.mark.parametrize("share, twins", [(0.4, True), (0.5, False), (0.6, False)])
def test_near_twins_share_more_than_the_given_part_of_their_users(share, twins):
    users = np.r_[np.arange(10), np.arange(5, 10)]  # item 1: users 0..9, item 2: users 5..9: Jaccard 0.5
    found = describe.near_twins(Interactions(users, np.repeat([1, 2], [10, 5])), jaccard=share)
    assert (found["items with a near-twin"] == 1) is twins


@pytest.mark.parametrize(
    "times, share, said",
    [
        ([5, 5, 9, 1, 1, 1], 0.75, "75%"),
        ([0, 1, 2, 0, 1, 2], np.nan, "unknown"),
        (None, np.nan, "unknown"),
        ([0, 1, 3, 0, 1, 2], 0.0, "0%"),
    ],
)
def test_ties_are_unknown_where_times_are_mere_positions(times, share, said):
    data = Interactions(np.repeat([0, 1], 3), np.array([1, 2, 3, 1, 2, 3]), None if times is None else np.array(times))
    found = describe.tied_share(data)
    assert np.array_equal(found, share, equal_nan=True) and describe.shown(found, ".0%") == said
    assert describe.shown(1234) == "1,234" and describe.shown(0.5) == "0.5"


def test_facts_count_repeated_pairs_and_the_longest_history():
    found = describe.facts(Interactions(np.array([0, 0, 0]), np.array([1, 2, 2]), np.array([5, 5, 5]), n_items=4))
    assert (found["repeated pairs"], found["longest history"], found["tied neighbours in time"]) == (1, 3, 1)


def test_a_negative_is_an_item_of_the_user_whose_interaction_it_stands_beside():
    data = Interactions(np.array([0, 0, 0, 1]), np.array([1, 2, 3, 1]), n_items=4)
    assert describe.own_positives(data) == (3 * 3 + 1) / 4 / 4


def test_pairs_and_users_that_two_parts_share_are_counted():
    train, validation, test = (
        Interactions(np.array(users), np.array(items), n_users=3, n_items=4)
        for users, items in (([0, 0, 1], [1, 2, 1]), ([0, 1, 2], [1, 2, 3]), ([0], [2]))
    )
    table = describe.leaks(splits.Split(train, validation, test)).set_index("parts")[["shared pairs", "shared users"]]
    assert table.T.to_dict("list") == {"train and validation": [1, 2], "train and test": [1, 1], "validation and test": [0, 1]}


def test_a_link_holds_the_numbers_behind_a_figure():
    counts = describe.frequencies(np.array([3, 1, 3, 7]), "interactions of a user", "users")
    assert counts.to_numpy().tolist() == [[1, 1], [3, 2], [7, 1]]
    said = describe.csv_links(histories=counts, of_titles=pd.DataFrame({"title": ["<b>é</b>, 1"]})).data
    files = dict(re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', said))
    read = {name: pd.read_csv(io.BytesIO(base64.b64decode(text))) for name, text in files.items()}
    assert read["histories.csv"].equals(counts) and read["of-titles.csv"]["title"].tolist() == ["<b>é</b>, 1"] and "<b>" not in said


def test_the_best_mrr_is_that_of_all_test_items_first(tiny):
    tested = splits.random_split(tiny).test
    firsts = [np.mean(1 / np.arange(1, count + 1)) for count in np.bincount(tested.users) if count]
    assert describe.best_mrr(tiny) == pytest.approx(np.mean(firsts)) and len(set(firsts)) > 2
