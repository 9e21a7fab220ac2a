"""Who gains from several tastes, and when: over data sets, over users, and over the factorial of generated data."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

from mixlib import experiments, outcomes, reports, synthetic
from mixlib.datasets import Interactions
from mixlib.evidence import Evidence, Share, share_of
from mixlib.labels import label, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import MAIN, Results, added, around, of_users
from mixlib.splits import Sequences
from mixlib.studies import STUDIES

ENOUGH = 5  # data sets: the best of all orders of four points has p = 0.08, so that four can never decide
SINGLE = "MRR of the single vector"
APART = "highest minus lowest [95%]"
GAINED = ("gain", "low", "high", "relative", "relative low", "relative high")
CONTRASTS = {"tastes": (1, 4), "stickiness": (0.5, 0.9), "skew": (0.4, 1.2), "twins": (0.0, 0.5)}  # levels of the factorial
CELL = ["tastes", "stickiness"]  # by what the cells of BY_TASTES differ
BY_TASTES = tuple(
    name for stays in (0.9, 0.5) for name in synthetic.FACTORIAL
    if synthetic.parameters(name).items() >= {"stickiness": stays, "skew": 0.4, "twins": 0.0}.items()
)  # fmt: skip


def family(found: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """What every mixture gains over its baseline on every data set, in numbers, with p-values of Wilcoxon's test and Holm's correction.

    low, high: for other seeds, too, where there are several.
    """
    rows = [{"dataset": one.dataset, "protocol": one.study, "mixture": one.mixture} | _numbers(one.evidence, one.share)
            | {"p": one.evidence.gap.p_value, "holm": one.holm} for one in reports.family(found)]  # fmt: skip
    return pd.DataFrame(rows, columns=["dataset", "protocol", "mixture", *GAINED, "p", "holm"])


def gain_by_skew(found: dict[tuple[str, str], Results], ratios: dict[str, float]) -> pd.DataFrame:
    """The rows of `family` on the data sets of `ratios`, with the 95th/50th popularity ratio of each: `Interactions.popularity_ratio`.

    The paper conjectures that popularity-biased data gain less.
    """
    table = family(found)
    return table[table["dataset"].isin(list(ratios))].assign(ratio=lambda rows: rows["dataset"].map(ratios))


def by_size(found: dict[tuple[str, str], Results]) -> pd.DataFrame:
    """What the embedding mixture and larger vectors gain over the narrow one of the main study: a row for each model on every data set with
    several seeds. low, high: for other seeds, too.
    """
    baseline, *larger = STUDIES[reports.SIZE].arms
    rows = []
    for (dataset, name), results in found.items():
        judged = name == reports.SIZE and baseline in results.outcomes and results.selection.seeds > 1
        for arm in (arm for arm in larger if judged and arm in results.outcomes):
            rows.append({"dataset": dataset, "model": arm} | _gained(results, arm, baseline))
    return pd.DataFrame(rows, columns=["dataset", "model", *GAINED])


def _gained(results: Results, arm: str, baseline: str) -> dict[str, float]:
    """A paired difference of two arms of a study in numbers; intervals: for other seeds, too, where there are several."""
    return _numbers(Evidence.of(results, arm, baseline), share_of(results, arm, baseline))


def _numbers(found: Evidence, relative: Share) -> dict[str, float]:
    """The numbers GAINED: a paired difference, and the same as a share of the baseline's MRR."""
    return dict(zip(GAINED, (found.gap.difference, *found.bounds, relative.gain, *relative.bounds), strict=True))


def skew_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of popularity ratio and relative gain, a row for each mixture of the rows of `gain_by_skew`.

    p: two-sided, from all orders of the data sets, or from 9999 random ones where there are more. rho and p are NaN for fewer than ENOUGH
    data sets, of which no order is rare.
    """
    rows = []
    for mixture, part in table.groupby("mixture", sort=False):
        rho, p = _spearman(part["ratio"].to_numpy(), part["relative"].to_numpy()) if len(part) >= ENOUGH else (np.nan, np.nan)
        rows.append({"mixture": mixture, "datasets": len(part), "rho": rho, "p": p})
    return pd.DataFrame(rows, columns=["mixture", "datasets", "rho", "p"])


def _spearman(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    def rho(ordered: np.ndarray) -> float:
        return float(stats.spearmanr(ordered, y).statistic)

    return rho(x), float(stats.permutation_test((x,), rho, permutation_type="pairings", rng=np.random.default_rng(0)).pvalue)


def skew_verdicts(table: pd.DataFrame) -> list[str]:
    """`skew_correlations` in words, a sentence for each mixture."""
    said = []
    for row in skew_correlations(table).to_dict("records"):
        name, n = label(row["mixture"]), row["datasets"]
        if n < ENOUGH:
            said.append(f"{name}: {n} data set{'s' * (n > 1)}, too few for a rank correlation.")
        else:
            said.append(f"{name}: Spearman's rho {row['rho']:+.2f} over {n} data sets (p {row['p']:.2f}).")
    return said or [reports.NOTHING]


def factorial(ledger: Ledger, names: Iterable[str] = synthetic.FACTORIAL) -> pd.DataFrame:
    """What each mixture gains over its single vector, and over larger ones, on every cell of the factorial: one row for each comparison,
    with the true parameters of the cell as columns.

    low, high: for other seeds, too, where there are several. Comparisons that were not run have 0 trials and no gain (NaN).
    """
    compared = [(name, arm, next(iter(STUDIES[name].arms))) for name in MAIN for arm in list(STUDIES[name].arms)[1:]]
    compared += [(reports.SIZE, reports.MIXTURE, control) for control in (reports.HALF, reports.WIDE)]
    rows = []
    for dataset in names:
        results = {name: outcomes.recorded(ledger, dataset, name) for name in (*MAIN, reports.SIZE)}
        for name, arm, baseline in compared:
            one = results[name]
            row = synthetic.parameters(dataset) | {"protocol": name, "mixture": arm, "against": baseline, "trials": 0, "seeds": 0}
            if one and one.has(arm, baseline):
                row |= {"trials": one.selection.trials, "seeds": one.selection.seeds} | _gained(one, arm, baseline)
            rows.append(row)
    columns = [*CONTRASTS, "protocol", "mixture", "against", "trials", "seeds", *GAINED]
    return pd.DataFrame(rows, columns=columns)


def by_components(ledger: Ledger, names: Iterable[str] = BY_TASTES) -> pd.DataFrame:
    """Does it help to have as many tastes as the users? What the embedding mixture with m tastes gains over the one with m = 1, which is
    factorization, on cells of the factorial that differ in the true number and the chance to stay alone: a row for each m, which had a
    search of its own.

    low, high: for other seeds, too, where there are several; none (NaN) for m = 1. factorization, its trials: test MRR of the same model
    as m = 1 in the main study, from a search of its own (NaN and 0 where there is none); over it, over low, over high: the gain over that
    one; over two, two low, two high: over m = 2, of more tastes. Empty before any such study was run.
    """
    study, rows = "factorization-components", []
    arms = {int(arm.partition("/")[2]): arm for arm in STUDIES[study].arms}
    for dataset in names:
        results, main = (outcomes.recorded(ledger, dataset, name) for name in (study, "factorization"))
        if results is None:
            continue
        again = main.outcomes.get("factorization") if main else None
        beside = {"factorization": again.mrr if again else np.nan, "its trials": main.selection.trials if main and again else 0}
        for m, arm in ((m, arm) for m, arm in arms.items() if results.has(arm, arms[1])):
            one = results.outcomes[arm]
            row = {key: synthetic.parameters(dataset)[key] for key in CELL}
            row |= {"m": m, "mrr": one.mrr, "validation": one.search["validation"]["mrr"]}
            row |= _gained(results, arm, arms[1]) if m > 1 else {"gain": 0.0, "relative": 0.0}
            two = results.outcomes.get(arms[2]) if m > 2 else None
            for words, other in ((("over it", "over low", "over high"), again), (("over two", "two low", "two high"), two)):
                if other:
                    over = Evidence.between(one, other)
                    row |= dict(zip(words, (over.gap.difference, *over.bounds), strict=True))
            rows.append(row | {"trials": results.selection.trials, "seeds": results.selection.seeds} | beside)
    columns = [*CELL, "m", "mrr", "validation", *GAINED, "trials", "seeds", "factorization", "its trials", "over it", "over low",
               "over high", "over two", "two low", "two high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def effects(factorial: pd.DataFrame) -> pd.DataFrame:
    """What each property of generated users adds to the gain of a mixture: one row for each comparison and property of `factorial`.

    effect: mean difference in gain between the two levels of CONTRASTS over all pairs of cells that were run with the same budget and
    differ in nothing else; low, high: its 95% interval, from the intervals of the cells as of independent ones: that of the mean of these
    pairs, whatever others would be; least, most: of the pairs. NaN where no pair was run. Users of one taste cannot leave it, so that cells
    of one taste which differ in stickiness hold the same data: they count as one, with the larger budget, whichever of them was run, and
    not as a pair. Cells of one seed are left out.
    """
    rows = []
    for (mixture, against), cells in factorial.groupby(["mixture", "against"]):
        if cells["gain"].isna().all():
            continue
        cells = cells.assign(half=(cells["high"] - cells["low"]) / 2, stays=cells["stickiness"].where(cells["tastes"] > 1, 0))
        cells = cells.assign(data=cells.groupby(["tastes", "stays", "skew", "twins"]).ngroup())
        cells = cells.sort_values(["trials", "seeds"])  # of the same data, the larger budget counts
        shared = ["trials", "seeds", "gain", "half"]
        cells[shared] = cells.groupby("data")[shared].transform("last")
        cells = cells[cells["seeds"] > 1].dropna(subset="gain")
        half = cells.drop_duplicates("data").set_index("data")["half"]
        for factor, levels in CONTRASTS.items():
            same = [*(other for other in CONTRASTS if other != factor), "trials", "seeds"]
            below, above = (cells[cells[factor] == level] for level in levels)
            pairs = below.merge(above, on=same, suffixes=("_below", "_above"))
            pairs = pairs[pairs["data_below"] != pairs["data_above"]].drop_duplicates(["data_below", "data_above"])
            weight = pairs["data_above"].value_counts().sub(pairs["data_below"].value_counts(), fill_value=0) / max(len(pairs), 1)
            changes = pairs["gain_above"] - pairs["gain_below"]
            effect = changes.mean()
            error = np.sqrt(((weight * half.reindex(weight.index)) ** 2).sum()) if len(pairs) else np.nan
            rows.append({"mixture": mixture, "against": against, "property": factor, "from": levels[0], "to": levels[1],
                         "pairs": len(pairs), "effect": effect, "low": effect - error, "high": effect + error,
                         "least": changes.min(), "most": changes.max()})  # fmt: skip
    columns = ["mixture", "against", "property", "from", "to", "pairs", "effect", "low", "high", "least", "most"]
    return pd.DataFrame(rows, columns=columns)


def who_gains(results: Results, arm: str, interactions: Interactions, ledger: Ledger | None) -> pd.DataFrame:
    """One row for each test window or user: the gain of `arm` over the baseline, and what may explain it.

    single: what the baseline reaches; history: interactions that the model knew (of the window, or of the user in train); popularity: how
    often the target occurs in train (mean over a user's targets); effective_tastes: mean over seeds, NaN without a ledger and in records
    that are older than that field; ours 0, ours 1, ..., theirs 0, ...: what each seed of both reaches. No rows where one of the two failed
    in all trials.
    """
    baseline = results.arms[0]
    if not results.has(arm, baseline):
        return pd.DataFrame(columns=["user", "gain", "single", "history", "popularity", "effective_tastes"])
    ours, theirs = results.outcomes[arm], results.outcomes[baseline]
    split = experiments.split_of(ours.search["definition"], interactions)
    popularity = np.bincount(split.train.items.ravel(), minlength=interactions.n_items + 1)
    if isinstance(split.test, Sequences):
        history = (split.test.items[:, :-1] != 0).sum(axis=1)
        target = popularity[split.test.items[:, -1]].astype(float)
    else:
        history = np.bincount(split.train.users, minlength=interactions.n_users)[ours.users]
        sums, counts = (np.bincount(split.test.users, weights, interactions.n_users) for weights in (popularity[split.test.items], None))
        target = (sums / np.maximum(counts, 1))[ours.users]
    unknown = np.full(len(history), np.nan)
    kept = [ledger.arrays(record) if ledger else {} for record in ours.records]
    diversity = np.mean([arrays.get("effective_tastes", unknown) for arrays in kept], axis=0)
    diversity = diversity.round(4)  # in single precision even equal ones differ
    each = {f"{side} {i}": values for side, one in (("ours", ours), ("theirs", theirs)) for i, values in enumerate(one.each)}
    rows = {"user": ours.users, "gain": ours.values - theirs.values, "single": theirs.values, "history": history, "popularity": target}
    return pd.DataFrame(rows | {"effective_tastes": diversity} | each)


def _short(value: float) -> str:
    """Three digits, and whole numbers above."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def gain_in(part: pd.DataFrame, less: pd.DataFrame | None = None) -> tuple[float, tuple[float, float]]:
    """The mean gain in some of the rows of `who_gains`, less that in others, if any are given, and its 95% interval for other users and,
    where there are several, other seeds: as in `outcomes.estimate`.
    """
    signed = [(1, part)] if less is None else [(1, part), (-1, less)]
    gain = float(sum(sign * some["gain"].mean() for sign, some in signed))
    residuals = np.concatenate([sign * (some["gain"] - some["gain"].mean()) / len(some) for sign, some in signed])
    users = np.concatenate([some["user"] for _, some in signed])
    sides = [np.sum([sign * some.filter(regex=f"^{side} ").mean() for sign, some in signed], axis=0) for side in ("ours", "theirs")]
    return gain, around(gain, *added(of_users(residuals, users), sides if min(map(len, sides)) > 1 else []))


def _gain(part: pd.DataFrame, less: pd.DataFrame | None = None) -> str:
    return with_interval(*gain_in(part, less), sign=True)


def by_quarter(rows: pd.DataFrame, what: str) -> pd.DataFrame:
    """The mean gain in the quarters of `who_gains` rows ordered by one of its columns, the last less the first, and Spearman's rho with it.

    Intervals as of `gain_in`.
    """
    known = rows[rows[what].notna()]
    if known.empty:
        return pd.DataFrame({"quarter of " + what: ["not recorded"]})
    varies = known[what].min() < known[what].max()
    cut = pd.qcut(known[what], 4, duplicates="drop") if varies else np.zeros(len(known))
    parts = [part for _, part in known.groupby(cut, observed=True)]
    table = [
        {"quarter of " + what: " to ".join(_short(end) for end in (part[what].min(), part[what].max())), "windows or users": len(part),
         "gain [95%]": _gain(part), SINGLE: f"{part['single'].mean():.4f}", APART: "", "Spearman's rho with the gain": ""}
        for part in parts
    ]  # fmt: skip
    if varies:
        table[0][APART] = _gain(parts[-1], parts[0]) if len(parts) > 1 else ""
        if known["gain"].min() < known["gain"].max():
            table[0]["Spearman's rho with the gain"] = f"{stats.spearmanr(known[what], known['gain']).statistic:+.2f}"
    return pd.DataFrame(table)


EXPLAINED_BY = {"history": "length of history", "popularity": "popularity of the target", "effective_tastes": "effective tastes"}


def by_quarters(rows: pd.DataFrame) -> pd.DataFrame:
    """`by_quarter` of `who_gains` rows for everything that may explain the gain, below each other."""
    tables = []
    for what, name in EXPLAINED_BY.items():
        table = by_quarter(rows, what).rename(columns={f"quarter of {what}": "quarter"})
        table.insert(0, "by", name)
        tables.append(table)
    return reports.stacked(tables)


def extremes(results: Results, interactions: Interactions, ledger: Ledger) -> list[dict[str, str]]:
    """Who gains, in short: for the Mixture-LSTM, or the embedding mixture, and all that may explain its gain, the first and the last row
    of `by_quarter` with how many there are and the gain in them, how far these lie apart, and Spearman's rho.
    """
    rows: list[dict[str, str]] = []
    for arm in (arm for arm, _ in results.mixtures if arm in ("mixture_lstm", "embedding_mixture")):
        every = who_gains(results, arm, interactions, ledger)
        for what, name in EXPLAINED_BY.items():
            table = by_quarter(every, what)
            if len(table) > 1:
                quarters, sizes, gains, single, apart, rho = (table[column].astype(str).tolist() for column in table)
                row = {"model": label(arm), "by": name}
                for which, place in (("lowest", 0), ("highest", -1)):
                    row |= {f"{which} quarter (number)": f"{quarters[place]} ({sizes[place]})",
                            f"gain in the {which} [95%]": f"{gains[place]} of {single[place]}"}  # fmt: skip
                rows.append(row | {APART: apart[0], "Spearman's rho": rho[0]})
    return rows
