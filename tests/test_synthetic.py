import numpy as np
import pytest

from mixlib import datasets
from mixlib.synthetic import FACTORIAL, SHAPES, cluster_of, generate, with_copies


def clusters_of_users(made, clusters=30):
    return [np.unique(cluster_of(made.items[made.users == user], clusters)) for user in range(made.n_users)]


def test_the_same_seed_gives_the_same_data():
    assert generate(users=20, seed=1).fingerprint == generate(users=20, seed=1).fingerprint != generate(users=20, seed=2).fingerprint


@pytest.mark.parametrize("tastes", [1, 2, 5])
def test_users_have_exactly_as_many_tastes_as_declared(tastes):
    made = generate(users=50, tastes=tastes, stickiness=0.5, length=200)
    assert {len(found) for found in clusters_of_users(made)} == {tastes}


def test_a_user_who_never_switches_shows_one_taste():
    assert {len(found) for found in clusters_of_users(generate(users=50, tastes=3, stickiness=1))} == {1}


def test_a_switch_always_goes_to_another_taste():
    made = generate(users=50, tastes=2, stickiness=0)
    cluster = cluster_of(made.items)
    within = made.users[1:] == made.users[:-1]
    assert (cluster[1:] != cluster[:-1])[within].all()


def test_stickiness_is_the_chance_to_stay():
    made = generate(users=300, tastes=3, stickiness=0.7)
    cluster = cluster_of(made.items)
    within = made.users[1:] == made.users[:-1]
    assert (cluster[1:] == cluster[:-1])[within].mean() == pytest.approx(0.7, abs=0.02)


def test_users_differ_in_what_they_like():
    chosen = np.bincount(np.concatenate(clusters_of_users(generate(users=600, length=100))), minlength=30)
    assert chosen.min() > 30 and chosen.max() < 90  # 60 are expected


def test_popularity_grows_steeper_with_skew():
    shares = [np.sort(generate(users=400, items=300, clusters=10, length=20, skew=s).popularity)[-30:].sum() for s in (0, 0.5, 1, 2)]
    assert shares == sorted(shares) and shares[-1] > 2 * shares[0]


@pytest.mark.parametrize(("items", "clusters"), [(60, 10), (67, 10), (10, 10)])
def test_no_item_comes_twice_before_its_cluster_is_used_up(items, clusters):
    made = generate(users=40, items=items, clusters=clusters, tastes=2, length=40)
    sizes = np.bincount(cluster_of(np.arange(1, items + 1), clusters))
    for user in range(made.n_users):
        mine = made.items[made.users == user]
        for cluster in np.unique(cluster_of(mine, clusters)):
            visits = mine[cluster_of(mine, clusters) == cluster][: sizes[cluster]]
            assert len(set(visits)) == len(visits)


def test_rows_come_by_user_and_time_with_lengths_as_declared():
    made = generate(users=2000, items=90, length=30)
    lengths = np.bincount(made.users)
    assert len(lengths) == 2000 and lengths.min() >= 10 and lengths.mean() == pytest.approx(30, rel=0.05)
    assert (np.diff(made.users) >= 0).all()
    np.testing.assert_array_equal(made.timestamps, np.concatenate([np.arange(n) for n in lengths]))


def test_every_item_has_a_title_of_its_cluster():
    made = generate(users=10, items=100, clusters=40)
    assert made.titles is not None and len(set(made.titles[1:])) == 100
    genres = [title.rsplit(" no. ")[0] for title in made.titles_of(np.arange(1, 101))]
    assert len(set(genres)) == 40 and all(genres[i] == genres[i % 40] for i in range(100))


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_the_declared_counts(shape):
    scaled = SHAPES[shape] | {"users": SHAPES[shape]["users"] // 100, "items": SHAPES[shape]["items"] // 50}
    made = generate(**scaled)
    assert (made.n_users, made.n_items) == (scaled["users"], scaled["items"])
    assert len(made) / made.n_users == pytest.approx(scaled["length"], rel=0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tastes": 0},
        {"tastes": 31},
        {"items": 29},
        {"users": 0},
        {"stickiness": 1.1},
        {"stickiness": -0.1},
        {"skew": -1},
        {"length": 9},
        {"length": 1e18},
        {"seed": -1},
    ],
)
def test_impossible_parameters_are_an_error(wrong):
    with pytest.raises(ValueError, match="must"):
        generate(**wrong)


def test_parameters_are_part_of_the_name():
    name = "synthetic:tastes=1,users=30,stickiness=0.5"
    made = datasets.load(name)
    assert made.name == name and made.n_users == 30
    assert made.fingerprint == generate(tastes=1, users=30, stickiness=0.5).fingerprint
    assert datasets.load("synthetic").fingerprint == generate().fingerprint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic:taste=1", "no parameter of synthetic called 'taste': did you mean 'tastes'"),
        ("synthetic:tastes=1.5", "tastes of synthetic must be int, not '1.5'"),
        ("synthetic:tastes=2,", "no parameter of synthetic called ''"),
        ("synthetic:", "no parameter of synthetic called ''"),
        ("synthetic:tastes", "tastes of synthetic must be int, not ''"),
        ("synthetic:users=60,users=70", "synthetic:users=60,users=70 gives users twice"),
        ("synthetic:tastes=99", "1 <= tastes <= clusters <= items"),
    ],
)
def test_a_wrong_name_is_an_error(name, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(name)


def test_data_without_twins_are_the_same_as_ever():
    assert generate(users=20).fingerprint == generate(users=20, twins=0.0).fingerprint == "476f681101c85b6c"


@pytest.mark.parametrize("twins", [0.3, 1.0])
def test_an_item_is_followed_by_its_twin_as_often_as_declared(twins):
    made, plain = (generate(users=400, items=120, clusters=10, twins=share) for share in (twins, 0.0))
    item, half = made.items - 1, 60
    within = made.users[1:] == made.users[:-1]
    pairs = (item[1:] % half == item[:-1] % half)[within]
    assert pairs.mean() == pytest.approx(twins / (1 + twins), abs=0.02)  # of two in a row, the second was not chosen by itself
    assert (item[1:] != item[:-1])[within][pairs].all()
    np.testing.assert_array_equal(np.bincount(made.users), np.bincount(plain.users))
    assert (item >= half).mean() == pytest.approx(0.5, abs=0.02) and made.n_items == len(made.titles) - 1 == 120


def test_twins_belong_to_the_same_cluster():
    made = generate(users=50, items=120, clusters=10, tastes=2, twins=0.5, length=100)
    assert {len(found) for found in clusters_of_users(made, 10)} == {2}


def test_twins_need_an_even_catalogue():
    with pytest.raises(ValueError, match=r"a multiple of 60, not 0\.5 with 590 items"):
        generate(items=590, twins=0.5)


def test_the_factorial_is_made_of_data_sets_that_exist():
    assert len(set(FACTORIAL)) == 32
    made = datasets.load(FACTORIAL[1])
    assert (made.name, made.n_users) == (FACTORIAL[1], 2000) and "twins=0.5" in FACTORIAL[1]


def test_a_second_edition_comes_right_after_the_first_and_nothing_else_changes():
    plain = generate(users=40, items=60, length=20)
    made = datasets.load("synthetic:users=40,items=60,length=20,skew=0.5:copies=0.25")
    again = datasets.load("synthetic:users=40,items=60,length=20,skew=0.5")
    assert made.n_items == 75 and made.name == f"{again.name}:copies=0.25" and plain.fingerprint != again.fingerprint != made.fingerprint
    second = made.items > 60
    kept = made.take(np.flatnonzero(~second))
    assert all(np.array_equal(getattr(kept, column), getattr(again, column)) for column in ("users", "items", "timestamps"))
    first = np.flatnonzero(second) - 1
    pairs = {(int(made.items[i]), int(made.items[i + 1])) for i in first}
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs}) <= 15  # each has one edition more
    for column in ("users", "timestamps"):
        assert np.array_equal(getattr(made, column)[first], getattr(made, column)[second])
    assert np.isin(again.items, [one for one, _ in pairs]).sum() == second.sum()  # every choice of a copied item is copied
    one, other = next(iter(pairs))
    assert made.titles_of([other]) == [f"{again.titles_of([one])[0]}, second edition"] and len(made.titles) == 76


@pytest.mark.parametrize("share, message", [("0", "above 0"), ("1.5", "at most 1"), ("nan", "above 0"), ("many", "must be a number")])
def test_a_share_of_copies_that_makes_no_sense_is_an_error(share, message):
    with pytest.raises(ValueError, match=message):
        datasets.load(f"synthetic:users=20:copies={share}")


def test_copies_of_a_data_set_without_titles_and_times_keep_the_order_of_rows():
    made = with_copies(datasets.Interactions(np.zeros(3, int), np.array([2, 1, 2])), 1)
    assert made.items.tolist() == [2, 4, 1, 3, 2, 4] and made.titles is None and made.timestamps is None
