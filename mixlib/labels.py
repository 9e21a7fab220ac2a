"""Names as a reader says them, numbers with their intervals, and what others published."""

import tomllib
from collections.abc import Collection
from pathlib import Path

from mixlib.studies import STUDIES

LABELS = {
    "lstm": "LSTM",
    "mixture_lstm": "Mixture-LSTM",
    "factorization": "Factorization",
    "projection_mixture": "Projection mixture",
    "embedding_mixture": "Embedding mixture",
}
REFERENCE_LABELS = {"popularity": "Popularity", "markov": "Item-to-item Markov", "item_knn": "ItemKNN", "ease": "EASE",
                    "als": "Implicit ALS"}  # fmt: skip
TITLES = {"movielens-10m": "Movielens 10M", "amazon": "Amazon", "goodbooks-10k": "Goodbooks-10K",
          "movielens-100k": "Movielens 100K", "movielens-1m": "Movielens 1M", "amazon-beauty": "Amazon beauty", "amazon-cds": "Amazon CDs",
          "amazon-apps": "Amazon apps", "goodbooks-v1": "Goodbooks (first release)"}  # fmt: skip
UNORDERED = ("goodbooks-v1",)  # no times, and no order in the file: nothing for a sequence model
LOSS_LABELS = {"bpr": "BPR as printed", "log_bpr": "log-BPR", "adaptive_hinge": "adaptive hinge", "hardest": "hardest of 5",
               "bpr of 5": "BPR as printed, 5 negatives", "log_bpr of 5": "log-BPR, 5 negatives",
               "hinge of 5": "hinge, 5 negatives"}  # fmt: skip
SIZE_LABELS = {"half as large": "half as large as its trial's mixture", "as large as the mixture": "as large as its trial's mixture"}
METRIC_LABELS = {"mrr_over_users": "MRR over users", "first_hit_mrr": "first-hit MRR", "recall_at_10": "Recall@10", "ndcg_at_10": "NDCG@10"}
PUBLISHED = tomllib.loads((Path(__file__).parent / "published.toml").read_text(encoding="utf-8"))


def applies(dataset: str, study: str, unordered: Collection[str] = UNORDERED) -> bool:
    """Whether a study makes sense for a data set: sequences need an order in time, which the unordered ones lack."""
    return STUDIES[study].family == "factorization" or dataset not in unordered


def label(arm: str) -> str:
    """An arm's name as a reader says it: `mixture_lstm/4` is `Mixture-LSTM, m = 4`; of a model of one's own, its name in words."""
    kind, _, rest = arm.partition("/")
    for what, said in (("dim ", "width "), ("gain ", "initial scale ")):
        rest = said + rest.removeprefix(what) if rest.startswith(what) else rest
    rest = f"m = {rest}" if rest.isdigit() else rest
    return (LABELS | REFERENCE_LABELS).get(kind, kind.replace("_", " ").capitalize()) + (
        f", {(LOSS_LABELS | SIZE_LABELS).get(rest, rest)}" if rest else ""
    )


def title(dataset: str) -> str:
    """A data set's name, or its folder's, as a reader says it."""
    base, _, share = dataset.replace("_copies=", ":copies=").rpartition(":copies=")
    if base:
        return f"{title(base)}, {100 * float(share):.3g}% of the items twice"
    words = dataset.replace("-", " ")
    return TITLES.get(dataset, words[:1].upper() + words[1:])


def listing(names: list[str]) -> str:
    """`A, B and C`."""
    *others, last = names or [""]
    return " and ".join(filter(None, (", ".join(others), last)))


def digits_for(*values: float) -> int:
    """Decimals for these values: three, or four where three would show one as 0 that is not; below 0.00005 its sign alone is left."""
    return 4 if any(0 < abs(value) < 0.0005 for value in values) else 3


def _digits_of(*shares: float) -> int:
    """Decimals for shares in percent: none, or one where an end would show as 0 that is not."""
    return int(any(0 < abs(share) < 0.005 for share in shares))


def with_interval(mean: float, bounds: tuple[float, float], sign: bool = False, digits: int | None = None) -> str:
    """`0.071 [0.058, 0.085]`: a mean with its 95% interval, with as many decimals as show it; with signs if it is a difference."""
    digits = digits or digits_for(mean, *bounds)
    form = f"{'+' if sign else ''}.{digits}f"
    return f"{mean:{form}} [{bounds[0]:{form}}, {bounds[1]:{form}}]"


def as_share(share: float, low: float, high: float, digits: int | None = None) -> str:
    """`+2% [-4%, +8%]`: a gain as a share of what it is gained over, with its 95% interval."""
    digits = _digits_of(low, high) if digits is None else digits
    return f"{share:+z.{digits}%} {share_bounds(low, high, digits)}"


def share_bounds(low: float, high: float, digits: int | None = None) -> str:
    """`[-4%, +8%]`: the interval alone."""
    digits = _digits_of(low, high) if digits is None else digits
    return f"[{low:+.{digits}%}, {high:+.{digits}%}]"


def bounds(low: float, high: float, digits: int) -> str:
    """`[-0.035, +0.017]`: the interval of a difference alone, as `with_interval` writes it."""
    return f"[{low:+.{digits}f}, {high:+.{digits}f}]"
