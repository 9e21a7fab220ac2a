"""Reference points: plain recommenders that a reader knows, ranked by the same protocol as the models.

Every method learns from the train part of a split and scores all items for a user, from that user's train items, or for a window, from its
context. Settings are drawn from ranges and chosen by validation MRR, like those of the models.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy import linalg, sparse
from scipy.stats import loguniform
from threadpoolctl import threadpool_limits
from torch import Tensor

from mixlib.names import choose
from mixlib.splits import Sequences, Split

LARGEST = 20_000  # items of which EASE inverts the matrix: 3 GB in double precision, and some minutes


class TooLarge(ValueError):
    """The data set has more items than a method can hold."""


@dataclass(eq=False)
class Reference:
    """A Scorer: respond gives scores (b, n_items + 1) of users (b,), or of windows (b, t) if it is sequential; parameters: how many numbers
    were learnt.
    """

    n_items: int
    respond: Callable[[np.ndarray], np.ndarray]
    parameters: int
    components: int = 1
    sequential: bool = False
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def scores(self, users: Tensor) -> Tensor:
        """Scores (b, n_items + 1) of every item for users (b,) or windows (b, t)."""
        return torch.from_numpy(np.ascontiguousarray(self.respond(users.numpy()), dtype=np.float32))


@dataclass(frozen=True, eq=False)
class Data:
    """What a method learns from: chosen (users, n_items + 1), 1 where a user has an item in train; and the parts it came from."""

    split: Split
    chosen: sparse.csr_matrix

    @classmethod
    def of(cls, split: Split) -> "Data":
        """The train part of a split; windows of the same user count as one history."""
        train = split.train
        if isinstance(train, Sequences):
            users, items = np.repeat(train.users, train.items.shape[1]), train.items.ravel()
        else:
            users, items = train.users, train.items
        return cls(split, _ones(users, items, (train.n_users, train.n_items + 1)))

    @property
    def n_items(self) -> int:
        """Items without padding."""
        return self.split.train.n_items

    @property
    def counts(self) -> np.ndarray:
        """Interactions (n_items + 1,) of every item in train, repeated ones too."""
        counts = np.bincount(self.split.train.items.ravel(), minlength=self.n_items + 1).astype(np.float32)
        counts[0] = 0
        return counts

    def past(self, users: np.ndarray) -> sparse.csr_matrix:
        """What is known (b, n_items + 1) of users (b,), or of windows (b, t): 1 for every item."""
        if users.ndim == 1:
            return self.chosen[users]
        return _ones(np.repeat(np.arange(len(users)), users.shape[1]), users.ravel(), (len(users), self.n_items + 1))


def _ones(rows: np.ndarray, items: np.ndarray, shape: tuple[int, int]) -> sparse.csr_matrix:
    """A matrix with 1 wherever a row has an item, however often; padding is no item."""
    real = items != 0
    found = sparse.coo_matrix((np.ones(real.sum(), np.float32), (rows[real], items[real])), shape).tocsr()
    found.data[:] = 1
    return found


def popularity(data: Data, seed: int) -> Reference:
    """Every item by how often it was chosen in train, the same for everybody."""
    counts = data.counts
    return Reference(data.n_items, lambda users: np.tile(counts, (len(users), 1)), data.n_items)


def markov(data: Data, seed: int, smoothing: float) -> Reference:
    """How often an item came right after the last one, plus `smoothing` times its share of all interactions.

    Raises ValueError when the split holds no windows.
    """
    if not isinstance(data.split.train, Sequences):
        raise ValueError("markov needs an order in time: run it on windows, in a study of sequences.")
    windows, n = data.split.train.items, data.n_items + 1
    before, after = windows[:, :-1].ravel(), windows[:, 1:].ravel()
    real = before != 0
    follows = sparse.coo_matrix((np.ones(real.sum(), np.float32), (before[real], after[real])), (n, n)).tocsr()
    counts = data.counts
    return Reference(data.n_items, lambda users: follows[users[:, -1]].toarray() + smoothing * counts / counts.sum(), follows.nnz)


def item_knn(data: Data, seed: int, neighbours: int, shrinkage: float) -> Reference:
    """The sum over a user's items of their cosine similarity to an item, among the `neighbours` nearest of each of them.

    shrinkage: added to the denominator, against similarities that rest on few users. Source: Sarwar et al. (2001).
    """
    together = (data.chosen.T @ data.chosen).tocoo()
    norms = np.sqrt(np.asarray(data.chosen.sum(axis=0)).ravel())
    other = together.row != together.col
    rows, columns, both = together.row[other], together.col[other], together.data[other]
    cosine = both / (norms[rows] * norms[columns] + shrinkage)
    order = np.lexsort((columns, -cosine, rows))  # by item, the most similar first
    starts = np.r_[0, np.bincount(rows, minlength=data.n_items + 1).cumsum()]
    near = order[np.arange(len(order)) - starts[rows[order]] < neighbours]
    similar = sparse.csr_matrix((cosine[near].astype(np.float32), (rows[near], columns[near])), (data.n_items + 1,) * 2)
    return Reference(data.n_items, lambda users: (data.past(users) @ similar).toarray(), similar.nnz)


def ease(data: Data, seed: int, l2: float) -> Reference:
    """The closed-form linear model of items by the user's other items, with ridge penalty l2. Source: Steck (2019), EASE.

    Raises TooLarge beyond 20,000 items.
    """
    if data.n_items > LARGEST:
        raise TooLarge(f"EASE inverts a matrix of items by items, and {data.n_items:,} items are too many: it is run up to {LARGEST:,}.")
    gram = (data.chosen.T @ data.chosen)[1:, 1:].toarray().astype(np.float64)
    gram[np.diag_indices_from(gram)] += l2
    inverse = linalg.inv(gram)  # by Cholesky, as it is symmetric
    weights = np.zeros((data.n_items + 1,) * 2, np.float32)
    weights[1:, 1:] = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return Reference(data.n_items, lambda users: data.past(users) @ weights, data.n_items**2)


def als(data: Data, seed: int, dim: int, l2: float, alpha: float, iterations: int) -> Reference:
    """Factorization of implicit feedback by alternating least squares; alpha: confidence of an interaction, that of none is 1.

    Users of a factorization keep the vectors that were learnt, windows are folded in. Source: Hu, Koren and Volinsky (2008), in the
    package `implicit`. Raises ImportError when it is not installed.
    """
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        raise ImportError('the reference als needs the package implicit: pip install ".[references]".') from None
    with threadpool_limits(1, "blas"):  # implicit warns of anything else
        model = AlternatingLeastSquares(dim, l2, alpha, iterations=iterations, num_threads=torch.get_num_threads(), random_state=seed)
    model.fit(data.chosen, show_progress=False)

    def respond(users: np.ndarray) -> np.ndarray:
        ours = model.user_factors[users] if users.ndim == 1 else model.recalculate_user(np.arange(len(users)), data.past(users))
        return ours @ model.item_factors.T

    learnt = model.item_factors.size + (0 if isinstance(data.split.train, Sequences) else model.user_factors.size)
    return Reference(data.n_items, respond, learnt)


@dataclass(frozen=True)
class Kind:
    """A method, the ranges that its settings are drawn from, and whether it has a width d and starts at random."""

    fit: Callable[..., Reference]
    space: dict = field(default_factory=dict)
    random: bool = False


KINDS = {
    "popularity": Kind(popularity),
    "markov": Kind(markov, {"smoothing": loguniform(1e-2, 1e4)}),
    "item_knn": Kind(item_knn, {"neighbours": [10, 20, 50, 100, 200, 500], "shrinkage": loguniform(1e-1, 1e3)}),
    "ease": Kind(ease, {"l2": loguniform(1, 1e4)}),
    "als": Kind(als, {"l2": loguniform(1e-3, 1e2), "alpha": loguniform(1, 100), "iterations": [5, 10, 15, 20, 30]}, random=True),
}


def fit(split: Split, kind: str, seed: int = 0, **settings) -> Reference:
    """Learn from split.train: a Scorer for the other parts. Raises ValueError on an unknown kind, and what the method raises."""
    learnt = KINDS[choose("reference", kind, KINDS)].fit(Data.of(split), seed, **settings)
    return replace(learnt, sequential=isinstance(split.train, Sequences))
