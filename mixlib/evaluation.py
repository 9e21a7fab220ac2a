"""Every item ranked for every user or window; metrics as one value per user or window, so that intervals and paired tests come free."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mixlib.datasets import Interactions
from mixlib.splits import Sequences, Split

CHUNK_BYTES = 256 * 2**20  # of scores held at once, in bytes
NOT_FINITE = "scores hold NaN, which has no rank: the model's parameters are not finite."


class Scorer(Protocol):
    """What can be ranked: scores (b, n_items + 1) of every item for users (b,) or windows (b, t); each score costs `components` floats."""

    n_items: int
    components: int

    @property
    def device(self) -> torch.device:
        """Where users or windows must lie."""

    def scores(self, users: Tensor) -> Tensor:
        """Scores (b, n_items + 1), column 0 is padding; the caller may change them."""


def target_ranks(scores: Tensor, targets: Tensor, excluded: Tensor | None = None) -> Tensor:
    """Rank (b,) of the target among the candidates: 1 + those scored higher + half of the others that are scored the same.

    scores: (b, n); targets: (b,) columns; excluded: (b, n) true where an item is out of the ranking, the target never is.
    Average ranks as in scipy.stats.rankdata: best is 1.0, a constant model gets (candidates + 1) / 2. Raises ValueError on NaN.
    """
    target = scores.gather(1, targets.unsqueeze(1))  # (b, 1)
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf).scatter(1, targets.unsqueeze(1), target)
    ranks = 1 + (scores > target).sum(dim=1) + ((scores == target).sum(dim=1) - 1) / 2
    if scores.isnan().any():
        raise ValueError(NOT_FINITE)
    return ranks


def sequence_ranks(model: Scorer, sequences: Sequences) -> np.ndarray:
    """Rank (n,) of the last item of every window, given the ones before it, which are no candidates unless they are the target."""
    ranks = []
    with torch.inference_mode():
        for rows in _chunks(len(sequences), model):
            windows = torch.as_tensor(sequences.items[rows], device=model.device)
            context, targets = windows[:, :-1], windows[:, -1:]  # (b, t - 1), (b, 1)
            scores = model.scores(context)  # (b, n_items + 1)
            _among_candidates(scores, context, targets)
            ranks.append(target_ranks(scores, targets.squeeze(1)).cpu().numpy())
    return np.concatenate(ranks) if ranks else np.zeros(0)


def sequence_reciprocal_ranks(model: Scorer, sequences: Sequences) -> np.ndarray:
    """1 / rank (n,) of the last item of every window: between 1 / n_items and 1. Their mean is the paper's MRR."""
    return 1 / sequence_ranks(model, sequences)


@dataclass(frozen=True, eq=False)
class Ranks:
    """users: (u,) who have items in the part; ranks: (u, k) of their items there, NaN beyond a user's last one."""

    users: np.ndarray
    ranks: np.ndarray


def interaction_ranks(model: Scorer, split: Split, part: str = "test") -> Ranks:
    """Rank every item of a user in `part` among all items, without those of train and of the other held-out part.

    The other items of the part stay candidates. A user's ranks come in ascending order of item id.
    """
    assert isinstance(split.train, Interactions)
    other = {"test": split.validation, "validation": split.test}[part]
    held = getattr(split, part)
    n_users = held.n_users
    targets = _grouped(held.users, held.items, n_users)
    known = _grouped(np.r_[split.train.users, other.users], np.r_[split.train.items, other.items], n_users)
    users = np.flatnonzero(np.bincount(held.users, minlength=n_users))
    device = model.device
    ranks = []
    with torch.inference_mode():
        for rows in _chunks(len(users), model):
            some = users[rows]
            scores = model.scores(torch.as_tensor(some, device=device))
            context, wanted = (torch.as_tensor(_padded(table, some), device=device) for table in (known, targets))
            found = _looked_up(scores, _among_candidates(scores, context, wanted))
            ranks.append(found.masked_fill(wanted == 0, torch.nan).cpu().numpy())
    width = max((block.shape[1] for block in ranks), default=1)
    filled = [np.pad(block, ((0, 0), (0, width - block.shape[1])), constant_values=np.nan) for block in ranks]
    return Ranks(users, np.concatenate(filled) if filled else np.zeros((0, 1)))


def interaction_reciprocal_ranks(model: Scorer, split: Split, part: str = "test") -> np.ndarray:
    """Mean of 1 / rank over a user's items in `part`, one value per user with items there, in order of user id."""
    return np.nanmean(1 / interaction_ranks(model, split, part).ranks, axis=1)


def user_metrics(ranks: np.ndarray) -> dict[str, np.ndarray]:
    """Metrics (u,) of every user from the ranks (u, k) of their held-out items (NaN: no item); all between 0 and 1.

    mrr: mean of 1 / rank over the items (the paper's). first_hit_mrr: 1 / best rank. recall_at_10: share of the items that rank in
    the top 10. ndcg_at_10: sum of 1 / log2(1 + rank) over those, divided by what the best order would give (Jarvelin, Kekalainen 2002).
    """
    top = ranks <= 10  # NaN compares false
    number = np.isfinite(ranks).sum(axis=1)
    ideal = np.r_[0, (1 / np.log2(np.arange(2, 12))).cumsum()]
    return {
        "mrr": np.nanmean(1 / ranks, axis=1),
        "first_hit_mrr": 1 / np.nanmin(ranks, axis=1),
        "recall_at_10": top.sum(axis=1) / number,
        "ndcg_at_10": np.where(top, 1 / np.log2(1 + np.where(top, ranks, 1)), 0).sum(axis=1) / ideal[np.minimum(number, 10)],
    }


def by_user(values: np.ndarray, users: np.ndarray) -> np.ndarray:
    """Mean of the values (n,) of every user that occurs in users (n,), in order of user id."""
    sums, counts = _sums(values, users)
    return sums / counts


def interval(values: np.ndarray, users: np.ndarray | None = None, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of values (n,), resampling users: all values of a user come or go together.

    users: (n,) whose value it is; None when there is one value per user. One user gives (mean, mean).
    """
    sums, counts = _sums(values, np.arange(len(values)) if users is None else users)
    if len(sums) < 2:
        return (float(np.mean(values)),) * 2
    found = stats.bootstrap(
        (sums, counts), lambda s, c, axis: s.sum(axis) / c.sum(axis), paired=True, confidence_level=level, n_resamples=2000,
        batch=max(1, 4_000_000 // len(sums)), method="percentile", rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


@dataclass(frozen=True)
class Comparison:
    """Mean difference, its bootstrap interval by user, and the p-value of Wilcoxon's signed-rank test over users."""

    difference: float
    low: float
    high: float
    p_value: float

    @property
    def decided(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def compare(ours: np.ndarray, theirs: np.ndarray, users: np.ndarray | None = None, level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare two models on the same users or windows: ours, theirs (n,) paired; users (n,) as in `interval`."""
    if ours.shape != theirs.shape:
        raise ValueError(f"a paired comparison needs the same users on both sides, not {ours.shape} and {theirs.shape} values.")
    gain = ours - theirs
    per_user = gain if users is None else by_user(gain, users)
    p_value = float(stats.wilcoxon(per_user).pvalue) if np.any(per_user) else 1.0
    return Comparison(float(gain.mean()), *interval(gain, users, level, seed), p_value)


def _among_candidates(scores: Tensor, context: Tensor, targets: Tensor) -> Tensor:
    """Put padding and the context (b, c) out of the ranking, in place; targets (b, k) always stay. Gives their scores (b, k)."""
    wanted = scores.gather(1, targets)
    scores.scatter_(1, context, -torch.inf)
    scores.scatter_(1, targets, wanted)
    scores[:, 0] = -torch.inf
    return wanted


def _looked_up(scores: Tensor, wanted: Tensor) -> Tensor:
    """Average ranks (b, k) of the values wanted (b, k) in rows of scores (b, n): each row sorted once, however many are wanted."""
    ordered = scores.sort(dim=1).values
    if ordered[:, -1].isnan().any():  # NaN sorts last
        raise ValueError(NOT_FINITE)
    upto = torch.searchsorted(ordered, wanted, right=True)
    equal = upto - torch.searchsorted(ordered, wanted)
    return 1 + (scores.shape[1] - upto) + (equal - 1) / 2


def _chunks(n: int, model: Scorer) -> Iterator[slice]:
    """Slices of n users or windows whose scores fit into CHUNK_BYTES: about three floats for each taste and item."""
    size = max(1, CHUNK_BYTES // (12 * model.components * (model.n_items + 1)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _sums(values: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and their number for every user that occurs, in order of user id."""
    who = np.unique(users, return_inverse=True)[1]
    return np.bincount(who, values), np.bincount(who)


def _grouped(users: np.ndarray, items: np.ndarray, n_users: int) -> tuple[np.ndarray, np.ndarray]:
    """Items sorted by user, then item, and where each user's begin: (n_users + 1,), (n,)."""
    return np.r_[0, np.bincount(users, minlength=n_users).cumsum()], items[np.lexsort((items, users))]


def _padded(grouped: tuple[np.ndarray, np.ndarray], users: np.ndarray) -> np.ndarray:
    """Items (u, k) of the given users, 0 beyond a user's last one."""
    starts, items = grouped
    counts = starts[users + 1] - starts[users]
    filled = np.arange(max(1, counts.max(initial=0))) < counts[:, None]  # (u, k)
    table = np.zeros(filled.shape, np.int64)
    table[filled] = items[(starts[users][:, None] + np.arange(filled.shape[1]))[filled]]
    return table
