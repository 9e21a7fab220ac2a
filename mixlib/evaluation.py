"""Every item ranked for every user or window; metrics as one value per user or window, so that intervals and paired tests come free."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import pad

from mixlib import kernels
from mixlib.datasets import Interactions
from mixlib.models import TasteModel
from mixlib.names import choose
from mixlib.splits import Sequences, Split

CHUNK_BYTES = 16 * 2**20  # of scores held at once, in bytes: more leaves the processor's caches, less makes small products
CARD_BYTES = 2**30  # the same on a GPU, where every chunk costs launches
BLOCK_BYTES = 4 * 2**20  # of the products that a mixture's scores are made of, likewise
RESAMPLES = 2000  # of a bootstrap
_AT_ONCE = 300_000  # values that a bootstrap sums at once: more leaves the caches
_KEPT = 100_000  # users: the resamples of so many take 200 MB, those of more are drawn again for every interval
Places = Tensor | tuple[Tensor, Tensor]  # a mask (b, n), or rows and columns
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
    own = torch.arange(len(scores), device=scores.device), targets
    target = scores[own].unsqueeze(1)  # (b, 1)
    ranks = _ranks(scores, target, False) if excluded is None else _among_others(scores.clone(), target, excluded, own, False)
    return ranks.squeeze(1)


def sequence_ranks(model: Scorer, sequences: Sequences) -> np.ndarray:
    """Rank (n,) of the last item of every window, given the ones before it, which are no candidates unless they are the target.

    Raises ValueError when model and windows do not belong together, or on NaN.
    """
    _check(model, sequences, Sequences)
    ranks = []
    fast = _fast(model, len(sequences))
    with torch.inference_mode():
        for rows in _chunks(len(sequences), model, fast):
            windows = torch.as_tensor(sequences.items[rows], device=model.device)
            context, targets = windows[:, :-1], windows[:, -1:]  # (b, t - 1), (b, 1)
            scores = _scores(model, context, fast)  # (b, n_items + 1)
            owners = torch.arange(len(windows), device=model.device).unsqueeze(1)
            out, own = (owners, pad(context, (1, 0))), (owners, targets)
            ranks.append(_among_others(scores, scores[own], out, own, fast).squeeze(1).cpu().numpy())
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
    Raises ValueError when model and split do not belong together, on another part than `validation` or `test`, or on NaN.
    """
    if not isinstance(split, Split):
        raise ValueError(f"this function ranks a part of a Split, not {type(split).__name__}: give the whole split.")
    _check(model, split.train, Interactions)
    plan = _plan(split, part)
    ranks = np.full((len(plan.users), max(1, plan.targets.counts.max(initial=0))), np.nan)
    fast = _fast(model, len(plan.users))
    with torch.inference_mode():
        for rows in _chunks(len(plan.users), model, fast):
            some = plan.order[rows]  # users with about as many targets lie together: little padding
            scores = _scores(model, torch.as_tensor(plan.users[some], device=model.device), fast)
            who, column = plan.targets.positions(some)
            owners, columns, targets = (torch.as_tensor(x, device=model.device) for x in (who, column, plan.targets.of(some)))
            wanted = scores.new_zeros(len(some), int(plan.targets.counts[some].max()))  # (b, k)
            wanted[owners, columns] = scores[owners, targets]
            known, items = (torch.as_tensor(x, device=model.device) for x in (plan.known.positions(some)[0], plan.known.of(some)))
            found = _among_others(scores, wanted, (known, items), (owners, targets), fast)[owners, columns]
            ranks[some[who], column] = found.cpu().numpy()
    return Ranks(plan.users, ranks)


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
    return _bootstrap(*_sums(values, np.arange(len(values)) if users is None else users), level, seed)


def ratio(ours: np.ndarray, theirs: np.ndarray, users: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Ratio of the means of ours and theirs (n,), paired, and its 95% interval, as `interval` takes it."""
    above, below = _sums(ours, users)[0], _sums(theirs, users)[0]
    return float(above.sum() / below.sum()), _bootstrap(above, below)


def _bootstrap(above: np.ndarray, below: np.ndarray, level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Percentile interval of sum(above) / sum(below), resampling users: above, below (u,). One user gives (ratio, ratio)."""
    if len(above) < 2:
        return (float(above.sum() / below.sum()),) * 2
    n, both = len(above), np.stack((above, below), axis=1)
    blocks = _kept_resamples(n, seed) if n <= _KEPT else _resamples(n, seed)
    sums = np.concatenate([block.astype(float) @ both for block in blocks])  # (RESAMPLES, 2)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], ((1 - level) / 2, (1 + level) / 2))
    return float(low), float(high)


def _resamples(n: int, seed: int) -> Iterator[np.ndarray]:
    """How often each of n users is drawn in every resample, as scipy.stats.bootstrap draws them: blocks (b, n), RESAMPLES rows in all."""
    rng, some = np.random.default_rng(seed), max(1, _AT_ONCE // n)
    for start in range(0, RESAMPLES, some):
        rows = range(start, min(start + some, RESAMPLES))
        yield np.stack([np.bincount(rng.integers(0, n, n), minlength=n).astype(np.uint8) for _ in rows])


@lru_cache(maxsize=16)  # many intervals are over the same users: to draw takes ten times as long as to sum
def _kept_resamples(n: int, seed: int) -> list[np.ndarray]:
    return list(_resamples(n, seed))


@dataclass(frozen=True)
class Comparison:
    """Mean difference, its bootstrap interval by user, and Wilcoxon's signed-rank test over users.

    rank_biserial: the test's effect size, the ranks of users with a gain less those of users with a loss, as a share of all ranks: between
    -1 (all lose) and 1 (all gain). Source: Kerby (2014).
    """

    difference: float
    low: float
    high: float
    p_value: float
    rank_biserial: float

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
    signed = per_user[per_user != 0]
    p_value = float(stats.wilcoxon(signed).pvalue) if len(signed) else 1.0
    ranks = stats.rankdata(np.abs(signed))
    rank_biserial = float((ranks * np.sign(signed)).sum() / ranks.sum()) if len(signed) else 0.0
    return Comparison(float(gain.mean()), *interval(gain, users, level, seed), p_value, rank_biserial)


def _check(model: Scorer, data: Interactions | Sequences, wanted: type[Interactions] | type[Sequences]) -> None:
    """Raise ValueError unless the data are of the wanted kind, and the model is one for them."""
    what = "windows of interactions" if wanted is Sequences else "interactions"
    if not isinstance(data, wanted):
        raise ValueError(f"this function ranks {what}, not {type(data).__name__}: take the other one, or another part of the split.")
    if getattr(model, "sequential", wanted is Sequences) != (wanted is Sequences):
        raise ValueError(f"{getattr(model, 'kind', 'this model')} cannot rank {what}.")
    if model.n_items != data.n_items:
        raise ValueError(f"the model was built for {model.n_items:,} items, but the data have {data.n_items:,}.")
    if (getattr(model, "n_users", None) or data.n_users) < data.n_users:
        raise ValueError(f"the model was built for fewer users than the {data.n_users:,} of the data.")


def _scores(model: Scorer, users: Tensor, fast: bool) -> Tensor:
    """Scores (b, n_items + 1) of users (b,) or windows (b, t); the large intermediates are fused where it pays."""
    return _mixed(model, users) if fast and isinstance(model, TasteModel) else model.scores(users)


def _mixed(model: TasteModel, users: Tensor) -> Tensor:
    """`model.scores`, items first and a block of them at a time: in that order the products take half as long, and stay in the caches."""
    tastes, *attention = (x.transpose(0, 1) for x in model.represent(users) if x is not None)  # (m, b, d)
    vectors, biases, (m, b, _) = model.item_vectors, model.item_biases.unsqueeze(1), tastes.shape
    if not attention:
        return (vectors @ tastes[0].T).add_(biases).T
    both = torch.stack((tastes, *attention)).flatten(0, 2).T  # (d, 2 m b)
    scores, size = tastes.new_empty(len(vectors), b), max(1, BLOCK_BYTES // (8 * m * b))
    products = tastes.new_empty(min(size, len(vectors)), both.shape[1])  # room for every block: fresh memory costs more than the product
    for some, offsets, out in zip(vectors.split(size), biases.split(size), scores.split(size), strict=True):
        kernels.mix()(*torch.mm(some, both, out=products[: len(some)]).view(-1, 2, m, b).unbind(1), offsets, out)
    return scores.T


def _among_others(scores: Tensor, wanted: Tensor, out: Places, own: Places, fast: bool) -> Tensor:
    """`_ranks` in the rows of scores (b, n), which are changed, without the places `out`; those of what is wanted, `own`, always stay."""
    ranks = _ranks(_marked(scores, out, own, -torch.inf), wanted, fast)
    if (lowest := wanted == -torch.inf).any():  # it ties with the marks, which are no candidates
        ranks -= lowest * _marked(torch.zeros_like(scores), out, own, 1).sum(1, keepdim=True) / 2
    return ranks


def _marked(scores: Tensor, out: Places, own: Places, mark: float) -> Tensor:
    """Scores (b, n) with a mark at the places `out`, but for the places `own`: the same tensor, changed."""
    kept = scores[own]
    scores[out] = mark
    scores[own] = kept
    return scores


def _ranks(scores: Tensor, wanted: Tensor, fast: bool) -> Tensor:
    """Average ranks (b, k) of the values wanted (b, k) in the rows of scores (b, n), where they occur. Raises ValueError on NaN."""
    if fast or scores.is_cuda:
        twice, nan = (kernels.counted() if fast else _counted)(scores, wanted)
        if nan:
            raise ValueError(NOT_FINITE)
        return 1 + (twice - 1) / 2
    ordered = scores.sort(dim=1).values  # each row once, however many are wanted
    if ordered[:, -1].isnan().any():  # NaN sorts last
        raise ValueError(NOT_FINITE)
    upto = torch.searchsorted(ordered, wanted, right=True)
    equal = upto - torch.searchsorted(ordered, wanted)
    return 1 + (scores.shape[1] - upto) + (equal - 1) / 2


def _counted(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """As `kernels.counted`, a column of values at a time: on a GPU far less work than to sort the scores."""
    twice = [(scores > column).sum(1) + (scores >= column).sum(1) for column in values.split(1, dim=1)]
    return torch.stack(twice, dim=1), scores.isnan().any()


def _fast(model: Scorer, rows: int) -> bool:
    return kernels.pays(400 * rows * (model.n_items + 1) * model.components, model.device)  # a study ranks hundreds of times


def _chunks(n: int, model: Scorer, fast: bool) -> Iterator[slice]:
    """Slices of n users or windows whose scores fit into a chunk: three floats for each item, and each taste unless fused."""
    room = CHUNK_BYTES if model.device.type == "cpu" else CARD_BYTES
    held = 1 if fast and isinstance(model, TasteModel) else model.components
    size = max(1, room // (12 * held * (model.n_items + 1)))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _sums(values: np.ndarray, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the values and their number for every user that occurs, in order of user id."""
    who = np.unique(users, return_inverse=True)[1]
    return np.bincount(who, values), np.bincount(who)


@dataclass(frozen=True, eq=False)
class _Items:
    """Items of users 0..u-1 in one array, sorted by user, then item: where each user's begin (u,), how many they are (u,)."""

    items: np.ndarray
    starts: np.ndarray
    counts: np.ndarray

    @classmethod
    def of_pairs(cls, users: np.ndarray, items: np.ndarray, n_users: int) -> "_Items":
        counts = np.bincount(users, minlength=n_users)
        return cls(items[np.lexsort((items, users))], counts.cumsum() - counts, counts)

    def positions(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For the n items of the given users: the position of the user among the given ones (n,), and 0, 1, ... within each user (n,)."""
        counts = self.counts[users]
        return np.repeat(np.arange(len(users)), counts), np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)

    def of(self, users: np.ndarray) -> np.ndarray:
        """The n items of the given users."""
        return self.items[np.repeat(self.starts[users], self.counts[users]) + self.positions(users)[1]]


@dataclass(frozen=True, eq=False)
class _Plan:
    """Whom to rank: users (u,) with targets, an order of them by number of targets, their targets and what is out of the ranking."""

    users: np.ndarray
    order: np.ndarray
    targets: _Items
    known: _Items


@lru_cache(maxsize=4)  # validation asks for the same one after every epoch
def _plan(split: Split, part: str) -> _Plan:
    others = {"test": split.validation, "validation": split.test}
    other, held = others[choose("part", part, others)], getattr(split, part)
    assert isinstance(split.train, Interactions) and isinstance(other, Interactions)
    users, numbers = np.unique(held.users, return_inverse=True)
    targets = _Items.of_pairs(numbers, held.items, len(users))
    number = np.full(held.n_users, -1)
    number[users] = np.arange(len(users))
    pairs = [(np.arange(len(users)), np.zeros_like(users))]  # padding is no candidate
    for known in (split.train, other):  # one after the other: train may be large
        owners = number[known.users]
        pairs.append((owners[owners >= 0], known.items[owners >= 0]))
    owners, items = (np.concatenate(both) for both in zip(*pairs, strict=True))
    return _Plan(users, np.argsort(-targets.counts, kind="stable"), targets, _Items.of_pairs(owners, items, len(users)))
