"""How much of the gains of 2018 is luck of the search: between winners of searches that drew other trials of the author's archive.

`python benchmarks/archive.py FOLDER` takes a second and writes book/tables/archive.csv. FOLDER holds the archived trials as sequence.csv
and factorization.csv, in the columns dataset, model_type, validation_mrr and test_mrr: the book's page "How sure" says where they are from.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from mixlib.labels import PUBLISHED, as_share, label, title
from mixlib.outcomes import FEW

DATASETS = {"10M": "movielens-10m", "amazon": "amazon", "goodbooks": "goodbooks-10k", "1M": "movielens-1m", "100K": "movielens-100k"}
MODELS = {  # names in the archive by file and by ours, the single vector first
    "sequence": {"lstm": "lstm", "mixture_lstm": "mixture"},
    "factorization": {"factorization": "bilinear", "projection_mixture": "mixture", "embedding_mixture": "embedding_mixture"},
}
TABLE = Path(__file__).parent.parent / "book" / "tables" / "archive.csv"

Arm = tuple[np.ndarray, np.ndarray]  # validation and test MRR (n,) of n trials


def chances(arm: Arm) -> Arm:
    """Test MRR (n,) of an arm's trials, and how probable it is (n,) that each is the best on validation of n drawn with replacement."""
    validation, test = arm
    return test[validation.argsort(kind="stable")], np.diff(np.linspace(0, 1, len(test) + 1) ** len(test))


def other_searches(baseline: Arm, mixture: Arm) -> tuple[np.ndarray, np.ndarray]:
    """Gains (n x m,) of every trial of one arm over every one of the other, as shares, and how probable it is (n x m,) that these two win.

    Each arm draws on its own: in 2018 two arms had no settings in common.
    """
    (theirs, likely), (ours, probable) = chances(baseline), chances(mixture)
    return (ours[:, None] / theirs - 1).ravel(), np.outer(probable, likely).ravel()


def middle(gains: np.ndarray, weights: np.ndarray) -> tuple[float, float, float]:
    """The median of the gains, and the ends of their middle 95%."""
    low, median, high = np.quantile(gains, [0.025, 0.5, 0.975], weights=weights, method="inverted_cdf")
    return float(median), float(low), float(high)


def lost(test: np.ndarray) -> int:
    """How many trials share the lowest test MRR (n,) to the last digit, as trainings do whose loss is no number any more."""
    lowest = int((test == test.min()).sum())
    return lowest if lowest > 1 else 0


def arms(folder: Path) -> dict[tuple[str, str], Arm]:
    """The trials of every model of the paper, by (data set, model)."""
    found = {}
    for file, models in MODELS.items():
        trials = pd.read_csv(folder / f"{file}.csv")
        for dataset, ours in DATASETS.items():
            for model, name in models.items():
                some = trials[(trials["dataset"] == dataset) & (trials["model_type"] == name)]
                found[ours, model] = some["validation_mrr"].to_numpy(), some["test_mrr"].to_numpy()
    return found


def table(archived: dict[tuple[str, str], Arm]) -> pd.DataFrame:
    """A row for each mixture with at least FEW trials of both models; the gain of 2018 is that of the trials best on validation."""
    rows = []
    for dataset in DATASETS.values():
        mark = "" if dataset in PUBLISHED["paper"]["mrr"] else " (archive)"
        for baseline, *mixtures in MODELS.values():
            for mixture in mixtures:
                both = [archived[dataset, arm] for arm in (baseline, mixture)]
                n, m = (len(test) for _, test in both)
                if min(n, m) < FEW:
                    continue
                theirs, ours = (test[validation.argmax()] for validation, test in both)
                gains, weights = other_searches(*both)
                rows.append({"data set": title(dataset), "mixture": label(mixture), "against": label(baseline),
                             "trials of both": f"{m} and {n}",
                             "of these, lost": " and ".join(str(lost(test)) for _, test in reversed(both)),
                             "gain of 2018": f"{ours / theirs - 1:+.0%}{mark}",
                             "gain over searches [middle 95%]": as_share(*middle(gains, weights)),
                             "searches in which it gains": f"{weights[gains > 0].sum():.0%}"})  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    if len(sys.argv) != 2 or not all((Path(sys.argv[1]) / f"{file}.csv").is_file() for file in MODELS):
        sys.exit("usage: python benchmarks/archive.py FOLDER, which holds sequence.csv and factorization.csv")
    table(arms(Path(sys.argv[1]))).to_csv(TABLE, index=False)
