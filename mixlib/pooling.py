"""What is gained over all data sets together: a random-effects meta-analysis of the gains as shares of the baseline's MRR."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from mixlib.labels import PUBLISHED, label, title
from mixlib.outcomes import FEW, MAIN, Found, Results
from mixlib.reports import HALF, MIXTURE, SIZE, WIDE, listed
from mixlib.studies import STUDIES

ENOUGH = 3  # data sets: with two, Student's t leaves nearly everything open
COMPARED = (*((name, arm, next(iter(STUDIES[name].arms))) for name in MAIN for arm in list(STUDIES[name].arms)[1:]),
            (SIZE, MIXTURE, HALF), (SIZE, MIXTURE, WIDE))  # fmt: skip


@dataclass(frozen=True)
class Pooled:
    """The mean effect over data sets like those at hand; bounds: its 95 % interval.

    spread: the standard deviation between data sets of what their own errors leave over, and spread_bounds its 95 % interval.
    another: the 95 % interval of the effect on one more data set like them.
    """

    mean: float
    bounds: tuple[float, float]
    spread: float
    spread_bounds: tuple[float, float]
    another: tuple[float, float]


def pool(effects: ArrayLike, errors: ArrayLike) -> Pooled:
    """Effects (n,) with standard errors (n,) together, each weighing as one over the sum of its own variance and that between data sets.

    The variance between data sets makes the weighted squares around the mean as large as they are expected to be (Paule and Mandel 1982),
    and is 0 where they are smaller; its interval holds those at which they are not unusual (Viechtbauer 2007). Student's t with n - 1
    degrees of freedom gives the interval of the mean: that of Hartung and Knapp (2001) where the variance is above 0, and a wider one where
    it is 0; with n - 2 it gives that of another data set (Higgins et al. 2009). Errors count as known.
    Raises ValueError for fewer than ENOUGH effects, and where one is not finite or its error not above 0.
    """
    y, own = np.asarray(effects, float), np.square(np.asarray(errors, float))
    if len(y) < ENOUGH:
        raise ValueError(f"{len(y)} effects are too few to be pooled: at least {ENOUGH} are needed.")
    if not (np.isfinite(y).all() and np.isfinite(own).all() and (own > 0).all()):
        raise ValueError("effects must be finite, and their standard errors finite and above 0, to be pooled.")

    def mean(between: float) -> float:
        return float(np.average(y, weights=1 / (own + between)))

    def squares(between: float) -> float:
        return float((np.square(y - mean(between)) / (own + between)).sum())

    def variance_at(wanted: float) -> float:
        """The variance between data sets at which the weighted squares are as large as that."""
        if squares(0) <= wanted:
            return 0.0
        return float(optimize.brentq(lambda between: squares(between) - wanted, 0, np.square(y - y.mean()).sum() / wanted))

    n = len(y)
    between, low, high = map(variance_at, (n - 1, stats.chi2.ppf(0.975, n - 1), stats.chi2.ppf(0.025, n - 1)))
    middle, variance = mean(between), 1 / (1 / (own + between)).sum()
    half, wider = stats.t.ppf(0.975, n - 1) * np.sqrt(variance), stats.t.ppf(0.975, n - 2) * np.sqrt(variance + between)
    return Pooled(middle, (middle - half, middle + half), between**0.5, (low**0.5, high**0.5), (middle - wider, middle + wider))


@dataclass(frozen=True, eq=False)
class Together:
    """What an arm gains over another on several data sets, as a share of the latter's MRR: names (n,), effects (n,) and standard errors
    (n,) for other users and seeds; trials (n,) of their searches, of those planned.
    """

    names: list[str]
    effects: np.ndarray
    errors: np.ndarray
    trials: list[int]
    planned: int

    @cached_property
    def mean(self) -> Pooled:
        """All of them together, each by its error, whatever the budget of its search."""
        return pool(self.effects, self.errors)

    @cached_property
    def without_one(self) -> tuple[str, Pooled] | None:
        """The data set whose lack widens the interval of the mean most, and what the others say; None where they are too few."""
        if len(self.names) <= ENOUGH:
            return None
        left = [(name, pool(np.delete(self.effects, i), np.delete(self.errors, i))) for i, name in enumerate(self.names)]
        return max(left, key=lambda one: one[1].bounds[1] - one[1].bounds[0])

    @property
    def few(self) -> int:
        """How many have fewer than FEW search trials."""
        return sum(trials < FEW for trials in self.trials)

    def __str__(self) -> str:
        some = f", {self.few} of them with fewer than {FEW} search trials" if self.few else ""
        fewer = f"; without {title(self.without_one[0])}, {_share(self.without_one[1])}" if self.without_one else ""
        return f"{_share(self.mean)} of the MRR over {len(self.names)} data sets{some}{fewer}"


def together(found: Found, study: str, arm: str, baseline: str) -> Together | None:
    """What an arm gains over another in a study, over all data sets where both have several seeds but the generated one; None where these
    are fewer than ENOUGH.

    The MRR that is divided by counts as known, and data sets count as independent of each other.
    """
    known = list(_known(found, study, arm, baseline))
    if len(known) < ENOUGH:
        return None
    mrr = np.array([results.outcomes[baseline].mrr for _, results, _ in known])
    gains = np.array([results.against(arm, baseline).difference for _, results, _ in known])
    searches = [results.selection for _, results, _ in known]
    return Together([dataset for dataset, *_ in known], gains / mrr, np.array([error for *_, error in known]) / mrr,
                    [search.trials for search in searches], searches[0].planned.trials)  # fmt: skip


def _known(found: Found, study: str, arm: str, baseline: str) -> Iterator[tuple[str, Results, float]]:
    """The data sets where both arms have several seeds, their results, and the standard error of the difference."""
    for (dataset, name), results in found.items():
        both = name == study and dataset != "synthetic" and {arm, baseline} <= set(results.outcomes)
        if both and (error := results.error(arm, baseline)) and error[0] > 0:
            yield dataset, results, error[0]


def means(found: Found) -> pd.DataFrame:
    """A row for each comparison of COMPARED that can be pooled, in numbers: shares of the baseline's MRR."""
    rows = []
    for study, arm, baseline in COMPARED:
        if one := together(found, study, arm, baseline):
            mean = one.mean
            rows.append((arm, baseline, study, len(one.names), mean.mean, *mean.bounds, mean.spread, *mean.spread_bounds, *mean.another))
    columns = ["mixture", "against", "protocol", "datasets", "relative", "low", "high", "spread", "spread low", "spread high"]
    return pd.DataFrame(rows, columns=[*columns, "another low", "another high"])


def table(found: Found) -> pd.DataFrame:
    """The same as a reader sees it, beside the gains that were printed in 2018 and how many search trials the data sets have."""
    rows = []
    for study, arm, baseline in COMPARED:
        one = together(found, study, arm, baseline)
        if one is None:
            continue
        pooled, fewer, (low, high) = one.mean, one.without_one, one.mean.spread_bounds
        printed = [mrr[arm] / mrr[baseline] - 1 for mrr in PUBLISHED["paper"]["mrr"].values() if baseline in mrr]
        trials = " to ".join(map(str, sorted({min(one.trials), max(one.trials)})))
        rows.append({"model": label(arm), "against": label(baseline), "data sets": len(one.names),
                     "mean gain, % of the MRR [95 %]": _share(pooled),
                     "without the one whose lack widens it most": f"{title(fewer[0])}: {_share(fewer[1])}" if fewer else "too few are left",
                     "spread between data sets [95 %]": f"{pooled.spread:.0%} [{low:.0%}, {high:.0%}]",
                     "on another data set [95 %]": _bounds(pooled.another),
                     "printed in 2018": f"{min(printed):+.0%} to {max(printed):+.0%}" if printed else "not compared",
                     "trials": f"{trials} of {one.planned}" + (f"; below {FEW} on {one.few}" if one.few else "")})  # fmt: skip
    return listed(rows)


def _share(pooled: Pooled) -> str:
    """`+2% [-4%, +8%]`."""
    return f"{pooled.mean:+z.0%} {_bounds(pooled.bounds)}"


def _bounds(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:+z.0%}, {bounds[1]:+z.0%}]"
