"""What generated users show of their tastes, and how much of a test can be known of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mixlib import outcomes, populations, reports, synthetic
from mixlib.evaluation import interaction_reciprocal_ranks
from mixlib.evidence import Evidence
from mixlib.ledger import Ledger, Snapshot
from mixlib.splits import random_split

ROOT = Path(__file__).resolve().parent.parent
CELL = "synthetic:users=300,tastes={},stickiness={},skew=0.4,twins={}"


@pytest.mark.parametrize(("tastes", "stays", "twins"), [(1, 0.9, 0.0), (4, 0.5, 0.0), (8, 0.9, 0.5)])
def test_what_users_show_of_their_tastes(tastes, stays, twins):
    data = synthetic.from_name(CELL.format(tastes, stays, twins))
    genres = np.array([title.rsplit(" no. ", 1)[0] for title in data.titles])  # of a cluster, with both editions of twins
    visited, effective = [], []
    for user in range(data.n_users):
        shares = np.unique(genres[data.items[data.users == user]], return_counts=True)[1] / (data.users == user).sum()
        visited.append(len(shares))
        effective.append(np.exp(-(shares * np.log(shares)).sum()))
    found = populations.shown(data, tastes)
    assert (found["visited"], found["effective"]) == pytest.approx((np.mean(visited), np.mean(effective)))
    assert found["items"] == np.mean([len(set(data.items[data.users == user])) for user in range(data.n_users)])
    assert found["all"] == np.mean(np.equal(visited, tastes)) and max(visited) <= tastes
    assert found["effective"] == pytest.approx(1) if tastes == 1 else 1 < found["effective"] < found["visited"]
    assert populations.visits(data).shape[1] == len(set(genres[1:])) == populations.CLUSTERS


def test_one_who_knows_the_process_tells_how_much_is_held_out_of_every_cluster():
    data = synthetic.from_name(CELL.format(4, 0.5, 0.0).replace("300", "3000"))
    split = random_split(data)
    scores = populations.Knowing(split.train, 0.4).scores(torch.arange(data.n_users)).numpy()
    held, chosen = np.zeros((2, data.n_users, data.n_items + 1), bool)
    chosen[split.train.users, split.train.items] = True
    for part in (split.validation, split.test):
        held[part.users, part.items] = True
    unknown = ~chosen[:, 1:]
    chances, hits = scores[:, 1:][unknown], held[:, 1:][unknown]
    bins = [(chances >= low) & (chances < high) for low, high in ((0.02, 0.06), (0.06, 0.1), (0.1, 0.2), (0.2, 0.6))]
    said, came = ([of[some].mean() for some in bins] for of in (chances, hits))
    assert min(some.sum() for some in bins) > 500 and came == pytest.approx(said, abs=0.03)
    assert chances.sum() == pytest.approx(hits.sum(), rel=0.1)
    assert not scores[:, 0].any()


def test_one_who_knows_the_process_puts_what_is_popular_in_a_users_clusters_first():
    data = synthetic.from_name(CELL.format(1, 0.9, 0.0))
    split = random_split(data)
    scores = populations.Knowing(split.train, 0.4).scores(torch.arange(data.n_users))
    liked = populations.visits(data).argmax(axis=1)
    clusters = (np.arange(data.n_items)) % populations.CLUSTERS
    for user in range(20):
        order = scores[user, 1:].argsort(descending=True).numpy()
        assert (clusters[order[:20]] == liked[user]).all() and (np.diff(order[:20]) > 0).all()  # by popularity, which falls with the id
    random = populations.Knowing(split.train, 0.4)
    random.known = torch.rand(random.known.shape, generator=torch.Generator().manual_seed(0))
    assert populations.known(data, 0.4).mean() > 0.7 > 10 * interaction_reciprocal_ranks(random, split).mean()


def test_the_tables_of_generated_users_show_cells_that_are_done():
    ledger, names = Snapshot(ROOT / "results"), [synthetic.FACTORIAL[i] for i in (0, 4, 20)]
    table = populations.table(ledger, names)
    assert table["chance to stay in a taste"].eq(0.9).all() and len(table) == 2  # one taste that stays 0.5 has one trial
    targets = populations.by_target(ledger, names)
    for name, shown, row in zip(names[1:], table.to_dict("records"), targets.to_dict("records"), strict=True):
        main, results = (outcomes.recorded(ledger, name, study) for study in outcomes.MAIN[::-1])
        assert shown["Factorization"] == f"{main.outcomes['factorization'].mrr:.3f}" and float(shown[populations.KNOWS]) > 0.4
        data = synthetic.from_name(name)
        repeated = populations.repeats(results, data)
        for words, where in (("not in its context", ~repeated), ("in its context", repeated)):
            ours, theirs = (results.outcomes[arm].at(where) for arm in ("mixture_lstm", "lstm"))
            gain = Evidence.between(ours, theirs)
            low, high = gain.wide
            assert row[f"gain, {words} [95%]"] == f"{gain.gap.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
            assert row[f"LSTM, {words}"] == f"{np.mean([values[where].mean() for values in theirs_of(results)]):.3f}"
        assert row[f"targets {populations.REPEATED}"] == f"{repeated.mean():.0%}"


def theirs_of(results):
    return results.outcomes["lstm"].each


def test_a_target_that_repeats_its_context_is_found(tmp_path):
    ledger = Snapshot(ROOT / "results")
    name = synthetic.FACTORIAL[4]
    results, data = outcomes.recorded(ledger, name, "sequences"), synthetic.from_name(name)
    repeated = populations.repeats(results, data)
    users = results.outcomes["lstm"].users
    newest = {user: data.items[data.users == user] for user in np.unique(users)}  # in order of time
    last = np.flatnonzero(np.r_[users[1:] != users[:-1], True])  # the newest window of each user
    for window in last:
        history = newest[users[window]][-50:]
        assert repeated[window] == (history[-1] in history[:-1])
    none = populations.table(Ledger(tmp_path), [name]).to_numpy().tolist()
    assert none == populations.by_target(Ledger(tmp_path), [name]).to_numpy().tolist() == reports.listed([]).to_numpy().tolist()
