"""Generated users as they turn out: how many of their tastes a history visits, what one who knows the process would reach, and how many
targets of sequences repeat their context.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from mixlib import datasets, describe, experiments, outcomes, reports, synthetic
from mixlib.datasets import Interactions
from mixlib.evaluation import interaction_reciprocal_ranks
from mixlib.labels import label, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import Results
from mixlib.splits import Sequences, random_split
from mixlib.tables import SPENT, properties
from mixlib.twins import FEW_WINDOWS, gain_at

CLUSTERS = 30  # of items, in every population of the factorial
NEW, REPEATED = "not in its context", "in its context"  # targets of windows
VISITED, EFFECTIVE, KNOWS = "visited", "effective", "one who knows the process"  # columns


def visits(interactions: Interactions) -> np.ndarray:
    """How often (n_users, CLUSTERS) each generated user chose an item of each cluster."""
    places = interactions.users * CLUSTERS + synthetic.cluster_of(interactions.items)
    return np.bincount(places, minlength=interactions.n_users * CLUSTERS).reshape(-1, CLUSTERS)


def shown(interactions: Interactions, liked: int) -> dict[str, float]:
    """How much of the tastes that generated users have shows in their histories, in the mean over users.

    items: different ones; visited: clusters with a choice; all: share of users who visit all that they like; effective: exp of the entropy
    of a user's shares, which is `liked` where all are visited alike.
    """
    counts = visits(interactions)
    number = (counts > 0).sum(axis=1)
    items = len(np.unique(interactions.pairs)) / interactions.n_users
    return {
        "items": items,
        "visited": float(number.mean()),
        "all": float((number == liked).mean()),
        "effective": float(np.exp(stats.entropy(counts, axis=1)).mean()),
    }


class Knowing:
    """A scorer that knows how generated users choose, but for twins, and sees of them what a model is trained on.

    An item that a user did not choose in train scores the chance that it was chosen all the same and dealt to the other parts. Items of a
    cluster are taken to be chosen at rates of their popularity, for as long as gives as many in train as the user has there. It is no bound
    where users have several tastes: how evenly they visit them in all tells a little more.
    """

    components = 1
    device = torch.device("cpu")
    sequential = False

    def __init__(self, train: Interactions, skew: float, trained: float = 0.8):
        """train: distinct pairs; trained: the share of all pairs that they are."""
        self.n_items = train.n_items
        items = np.arange(train.n_items)
        rates = (1.0 + np.arange(-(-train.n_items // CLUSTERS))) ** -skew  # by rank in the cluster
        times = np.geomspace(1e-3, 1e4, 1000)
        chosen = 1 - np.exp(-times[:, None] * rates)  # (times, ranks)
        held = chosen * (1 - trained) / (1 - trained * chosen)  # of those that are not in train
        expected = np.interp(np.arange(len(rates) + 1), np.r_[0, trained * chosen.sum(axis=1)], np.arange(len(times) + 1))
        by_count = np.vstack((np.zeros(len(rates)), held))[expected.round().astype(int)]  # (in train 0..ranks, ranks)
        by_count += 1e-3 * rates  # in a cluster that is used up all are left over alike, and what ties shares its rank
        known = by_count[visits(train)[:, items % CLUSTERS], items // CLUSTERS]
        self.known = torch.as_tensor(np.pad(known, ((0, 0), (1, 0))), dtype=torch.float32)

    def scores(self, users: Tensor) -> Tensor:
        """Scores (b, n_items + 1) of users (b,)."""
        return self.known[users].clone()


def known(interactions: Interactions, skew: float) -> np.ndarray:
    """The MRR (u,) of every user with test items that `Knowing` reaches on the split of the book's studies."""
    split = random_split(interactions)
    assert isinstance(split.train, Interactions)
    return interaction_reciprocal_ranks(Knowing(split.train, skew), split)


def repeats(results: Results, interactions: Interactions) -> np.ndarray:
    """Which test windows (n,) of a study of sequences end in an item of their own context."""
    test = experiments.split_of(next(iter(results.outcomes.values())).search["definition"], interactions).test
    assert isinstance(test, Sequences)
    return describe.repeating(test)


def table(ledger: Ledger, names: Iterable[str] = synthetic.FACTORIAL) -> pd.DataFrame:
    """What each population of the factorial shows of its tastes, and what two models and one who knows the process reach there."""
    rows = []
    for name, done in _done(ledger, names, "factorization", "factorization-components"):
        interactions, given = datasets.load(name), synthetic.parameters(name)
        found, main = shown(interactions, given["tastes"]), done["factorization"].outcomes if "factorization" in done else {}
        row = properties(given) | {
            "items": f"{found['items']:.0f}",
            VISITED: f"{found['visited']:.1f}",
            "users who visit all": f"{found['all']:.0%}",
            EFFECTIVE: f"{found['effective']:.1f}",
        }
        row |= {label(arm): f"{main[arm].mrr:.3f}" if arm in main else "" for arm in ("factorization", "embedding_mixture")}
        rows.append(row | {KNOWS: "" if given["twins"] else f"{known(interactions, given['skew']).mean():.3f}"})
    return reports.listed(rows)


def by_target(ledger: Ledger, names: Iterable[str] = synthetic.FACTORIAL) -> pd.DataFrame:
    """What the Mixture-LSTM gains over the LSTM on generated users' test windows whose target is not, and is, in its own context."""
    rows = []
    for name, done in _done(ledger, names, "sequences"):
        results, given = done["sequences"], synthetic.parameters(name)
        where = repeats(results, datasets.load(name))
        row = properties(given) | {f"targets {REPEATED}": f"{where.mean():.0%}"}
        for words, part in ((NEW, ~where), (REPEATED, where)):
            row |= {f"LSTM, {words}": "", f"gain, {words} [95%]": ""}
            if part.sum() >= FEW_WINDOWS:
                reached, one = gain_at(results, part)
                gain = with_interval(one.gap.difference, one.bounds, sign=True)
                row |= {f"LSTM, {words}": f"{reached:.3f}", f"gain, {words} [95%]": gain}
        rows.append(row | {SPENT: reports.spent(results)})
    return reports.listed(rows)


def _done(ledger: Ledger, names: Iterable[str], *studies: str) -> Iterator[tuple[str, dict[str, Results]]]:
    """The cells of which one of the studies is done with several seeds, each with those that are."""
    for name in names:
        every = {study: outcomes.recorded(ledger, name, study) for study in studies}
        if done := {study: results for study, results in every.items() if results and results.done and results.selection.seeds > 1}:
            yield name, done
