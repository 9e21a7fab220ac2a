"""What is gained over all data sets together: a random-effects meta-analysis of the logs of the ratios of MRRs."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import optimize, stats

from mixlib.evidence import Share, deals_users, share_corrected, share_of
from mixlib.labels import PUBLISHED, as_share, label, listing, share_bounds, title
from mixlib.outcomes import FEW, Found, Results
from mixlib.reports import HALF, MIXTURE, SIZE, WIDE
from mixlib.studies import STUDIES

ENOUGH = 3  # data sets: with two, Student's t leaves nearly everything open
TOO_FEW = "too few data sets have several seeds yet"
COMPARED = (("sequences", "mixture_lstm", "lstm"), ("sequence-seeds", "mixture_lstm", "lstm"),
            ("sequence-splits", "mixture_lstm", "lstm"),
            ("factorization", "projection_mixture", "factorization"), ("factorization", MIXTURE, "factorization"),
            (SIZE, MIXTURE, HALF), (SIZE, MIXTURE, WIDE))  # fmt: skip


@dataclass(frozen=True)
class Pooled:
    """The mean effect over data sets like those at hand; bounds: its 95% interval.

    spread: the standard deviation between data sets of what their own errors leave over, and spread_bounds its 95% interval.
    another: the 95% interval of the effect on one more data set like them. As text, the effects are logs of ratios, and shares are shown.
    """

    mean: float
    bounds: tuple[float, float]
    spread: float
    spread_bounds: tuple[float, float]
    another: tuple[float, float]

    def __str__(self) -> str:
        return as_share(*np.expm1([self.mean, *self.bounds]))


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
    """What an arm gains over another of a study on several data sets: names (n,), effects (n,), logs of the ratios of the two MRRs, and
    their standard errors (n,) for other users and seeds; trials (n,) of their searches, of those planned.

    again: the data sets whose winners have their results of another study than the others, by title.
    """

    study: str
    arm: str
    baseline: str
    names: list[str]
    effects: np.ndarray
    errors: np.ndarray
    trials: list[int]
    planned: int
    again: list[str]

    @cached_property
    def mean(self) -> Pooled:
        """All of them together, each by its error, whatever the budget of its search."""
        return pool(self.effects, self.errors)

    @cached_property
    def without_one(self) -> list[Pooled]:
        """What the others say without one of the data sets, for each of them; nothing where they are too few."""
        if len(self.names) <= ENOUGH:
            return []
        return [pool(np.delete(self.effects, i), np.delete(self.errors, i)) for i in range(len(self.names))]

    @property
    def range_without_one(self) -> str:
        """`begins at -8% to -2%, ends at +7% to +27%`: that interval without one of the data sets; empty where they are too few."""
        if not self.without_one:
            return ""
        begins, ends = np.sort(np.expm1([one.bounds for one in self.without_one]), axis=0)[[0, -1]].T
        return f"begins at {begins[0]:+.0%} to {begins[1]:+.0%}, ends at {ends[0]:+.0%} to {ends[1]:+.0%}"

    @property
    def few(self) -> int:
        """How many have fewer than FEW search trials."""
        return sum(trials < FEW for trials in self.trials)

    def __str__(self) -> str:
        some = f", {self.few} of them with fewer than {FEW} search trials" if self.few else ""
        fewer = f"; with one of them left out, the interval {self.range_without_one}" if self.without_one else ""
        return f"{self.mean} of the MRR over {len(self.names)} data sets{some}{fewer}"


def together(found: Found, study: str, arm: str, baseline: str) -> Together | None:
    """What an arm gains over another in a study, over all data sets where both have several seeds but the generated one; None where these
    are fewer than ENOUGH. Of a study that takes over another's winners, the other stands in on data sets where it is not done; None where
    it is done on none.

    Data sets count as independent of each other.
    """
    known = list(_known(found, study, arm, baseline))
    again = [title(dataset) for dataset, results, _ in known if results.selection.study.winners_of]
    if len(known) < ENOUGH or (STUDIES[study].winners_of and not again):
        return None
    names, results, shares = zip(*known, strict=True)
    effects, errors = (np.array(some) for some in zip(*((one.log_ratio, one.error) for one in shares), strict=True))
    trials = [one.selection.trials for one in results]
    return Together(study, arm, baseline, list(names), effects, errors, trials, results[0].selection.planned.trials, again)


def comparisons(found: Found) -> list[Together]:
    """Those of COMPARED that enough data sets have."""
    return [one for compared in COMPARED if (one := together(found, *compared))]


def _known(found: Found, study: str, arm: str, baseline: str) -> Iterator[tuple[str, Results, Share]]:
    """The data sets where both arms have several seeds, their results, and what is gained; on other splits that deal users it is corrected
    for train parts that overlap.
    """
    for dataset in dict.fromkeys(dataset for dataset, _ in found):
        results, main = found.get((dataset, study)), STUDIES[study].winners_of
        if main and not (results and results.done):
            results = found.get((dataset, main))
        if results and results.has(arm, baseline):
            ours, theirs = results.outcomes[arm], results.outcomes[baseline]
            if min(len(ours.by_seed), len(theirs.by_seed)) < 2:
                continue
            one = share_corrected(ours, theirs) if deals_users(results) else share_of(results, arm, baseline)
            if one.error > 0:
                yield dataset, results, one


def each(found: Found) -> pd.DataFrame:
    """A row for each of COMPARED on each data set where both arms have several seeds: what is gained as a share of the baseline's MRR, with
    its 95% interval for other users and seeds, or for other splits (corrected). Studies that take over winners have rows where done.
    """
    rows = []
    for study, arm, baseline in COMPARED:
        for dataset, results, one in _known(found, study, arm, baseline):
            if results.selection.study.name == study:
                rows.append((dataset, arm, baseline, study, results.selection.trials, results.selection.seeds, one.gain, *one.bounds))
    columns = ["dataset", "mixture", "against", "protocol", "trials", "seeds", "relative", "relative low", "relative high"]
    return pd.DataFrame(rows, columns=columns)


def means(found: Found) -> pd.DataFrame:
    """A row for each of `comparisons`, in numbers: shares of the baseline's MRR; trials: the fewest of a data set; spread: of the logs of
    the ratios.
    """
    rows = []
    for one in comparisons(found):
        mean = one.mean
        shares = np.expm1([mean.mean, *mean.bounds, *mean.another])
        rows.append((one.arm, one.baseline, one.study, len(one.names), min(one.trials), *shares, mean.spread, *mean.spread_bounds))
    columns = [
        "mixture",
        "against",
        "protocol",
        "datasets",
        "trials",
        "relative",
        "relative low",
        "relative high",
        "another low",
        "another high",
    ]
    return pd.DataFrame(rows, columns=[*columns, "spread", "spread low", "spread high"])


def table(found: Found) -> pd.DataFrame:
    """The same as a reader sees it, beside the gains that were printed in 2018 and how many search trials the data sets have."""
    rows = []
    for one in comparisons(found):
        pooled = one.mean
        spread, low, high = np.expm1([pooled.spread, *pooled.spread_bounds])
        printed = [mrr[one.arm] / mrr[one.baseline] - 1 for mrr in PUBLISHED["paper"]["mrr"].values() if one.baseline in mrr]
        trials = " to ".join(map(str, sorted({min(one.trials), max(one.trials)})))
        otherwise = "on other splits of" if STUDIES[one.study].splits else "with more seeds on"
        again = f", {otherwise} {listing(one.again)}" if one.again else ""
        rows.append({"model": label(one.arm) + again, "against": label(one.baseline), "data sets": len(one.names),
                     "mean gain, % of the MRR [95%]": str(pooled),
                     "its interval with one of them left out": one.range_without_one or "too few are left",
                     "spread between data sets [95%]": f"{spread:.0%} [{low:.0%}, {high:.0%}]",
                     "on another data set [95%]": share_bounds(*np.expm1(pooled.another)),
                     "printed in 2018": f"{min(printed):+.0%} to {max(printed):+.0%}" if printed else "not compared",
                     "trials": f"{trials} of {one.planned}" + (f"; below {FEW} on {one.few}" if one.few else "")})  # fmt: skip
    return pd.DataFrame(rows or [{"": TOO_FEW}])
