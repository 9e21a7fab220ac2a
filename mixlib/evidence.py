"""A paired difference of two arms, and what it decides: over users, and over seeds, without which it decides nothing; and as a share."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from mixlib.evaluation import Comparison
from mixlib.labels import as_share, bounds, digits_for, with_interval
from mixlib.outcomes import FEW, Estimate, Outcome, Results, added, around, estimate, over_users, paired

AHEAD, BEHIND, UNDECIDED, ONE_SEED = "ahead", "behind", "undecided", "one seed, so not judged"


@dataclass(frozen=True)
class Evidence:
    """A paired difference; wide: its interval for other seeds, too, None where there is one seed.

    budget: the search trials and seeds behind it in words, empty where all that was planned is done. few: the trials are fewer than FEW.
    p: of no difference, for other seeds, too; None where there is one seed.
    """

    gap: Comparison
    wide: tuple[float, float] | None = None
    budget: str = ""
    few: bool = False
    p: float | None = None

    @classmethod
    def between(cls, ours: Outcome, theirs: Outcome, apart: bool = False) -> "Evidence":
        """The evidence in two outcomes over the same users; apart: as for `outcomes.estimate`."""
        wide = estimate(ours, theirs, apart)
        return cls(paired(ours, theirs), wide.bounds if wide else None, p=wide.p if wide else None)

    @classmethod
    def of(cls, results: Results, arm: str, baseline: str) -> "Evidence":
        """The evidence in the results of a study."""
        found = cls.between(results.outcomes[arm], results.outcomes[baseline], apart=results.selection.study.splits)
        return replace(found, budget=results.unfinished, few=bool(results.unfinished) and results.selection.trials < FEW)

    @property
    def side(self) -> str:
        """AHEAD, BEHIND or UNDECIDED, by the interval for other users and seeds; ONE_SEED where there is none."""
        if self.wide is None:
            return ONE_SEED
        return AHEAD if self.wide[0] > 0 else BEHIND if self.wide[1] < 0 else UNDECIDED

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval for other users and seeds; over users alone where there is one seed."""
        return self.wide or (self.gap.low, self.gap.high)

    @property
    def _digits(self) -> int:
        return digits_for(self.gap.difference, self.gap.low, self.gap.high, *(self.wide or ()))

    @property
    def over_users(self) -> str:
        """The difference with its interval over users."""
        return with_interval(self.gap.difference, (self.gap.low, self.gap.high), sign=True, digits=self._digits)

    @property
    def over_seeds(self) -> str:
        """The interval for other seeds, too, or that there is one seed."""
        return bounds(*self.wide, self._digits) if self.wide else "one seed"

    def __str__(self) -> str:
        said = f"{self.over_users}, users and seeds: {self.over_seeds}" if self.wide else self.over_users
        return f"{said} ({self.budget})" if self.budget else said


@dataclass(frozen=True)
class Share:
    """What an arm gains as a share of the other's MRR, which is uncertain, too: the log of the ratio of the two, its standard error for
    other users and, where both have several seeds, other seeds, and the degrees of freedom of the latter.
    """

    log_ratio: float
    error: float
    freedom: float

    @property
    def gain(self) -> float:
        """The share: 0.1 for a tenth more."""
        return float(np.expm1(self.log_ratio))

    @property
    def bounds(self) -> tuple[float, float]:
        """Its 95% interval, by Student's t of the log ratio."""
        low, high = around(self.log_ratio, self.error, self.freedom)
        return float(np.expm1(low)), float(np.expm1(high))

    def __str__(self) -> str:
        return as_share(self.gain, *self.bounds)


def estimate_corrected(ours: Outcome, theirs: Outcome) -> Estimate:
    """The mean difference of two outcomes of which every seed has a split of its own that deals users, as in `share_corrected`."""
    return Estimate(float((ours.values - theirs.values).mean(dtype=float)), *_overlapping(ours.by_seed - theirs.by_seed, ours))


def _overlapping(by_split: np.ndarray, outcome: Outcome) -> tuple[float, int]:
    """Standard error of the mean of what differs by split (n,), and its degrees of freedom, where train parts overlap."""
    trained, _, tested = outcome.records[0]["definition"]["split"]["fractions"]
    return float(by_split.std(ddof=1) * np.sqrt(1 / len(by_split) + tested / trained)), len(by_split) - 1


@lru_cache(maxsize=4096)  # several tables and figures show the same share
def share(ours: Outcome, theirs: Outcome, apart: bool = False) -> Share:
    """The share of two outcomes; variances over users and seeds, or over splits where every seed has one (apart), are added as in
    `outcomes.estimate`. Raises ValueError when they are not of the same users in the same order.
    """
    paired(ours, theirs)
    value = float(ours.values.sum(dtype=float) / theirs.values.sum(dtype=float))
    sides = [one.by_seed / one.mrr for one in (ours, theirs)] if min(len(ours.by_seed), len(theirs.by_seed)) > 1 else []
    if sides and apart:
        sides = [(ours.by_seed / value - theirs.by_seed) / theirs.mrr]
    return Share(float(np.log(value)), *added(over_users(ours.values, theirs.values, ours.users) / value**2, sides))


def share_corrected(ours: Outcome, theirs: Outcome) -> Share:
    """The share of two outcomes of which every seed has a split of its own that deals users, by the corrected resampled t-test (Nadeau
    and Bengio 2003, Inference for the generalization error, Machine Learning 52): the variance over n splits is multiplied by 1 / n and,
    since train parts overlap, the size of a test over that of a train part. What differs between users is in it as well.
    """
    value = share(ours, theirs, apart=True).gain + 1
    return Share(float(np.log(value)), *_overlapping((ours.by_seed / value - theirs.by_seed) / theirs.mrr, ours))


def share_of(results: Results, arm: str, baseline: str) -> Share:
    """What an arm of a study gains as a share of another's MRR."""
    return share(results.outcomes[arm], results.outcomes[baseline], apart=results.selection.study.splits)


def deals_users(results: Results) -> bool:
    """Whether every seed has a split of its own that deals users, and there are several: where `share_corrected` applies."""
    study = results.selection.study
    return study.splits and study.family == "sequences" and results.selection.seeds > 1
