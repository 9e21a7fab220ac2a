"""The tables about models trained otherwise: winners on other splits, with more seeds; the search without early stopping; and how far the
seeds of winners differ.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from mixlib import reports, searching
from mixlib.evidence import Evidence, deals_users, share, share_corrected, share_of
from mixlib.labels import label, share_bounds, title, with_interval
from mixlib.ledger import Ledger
from mixlib.outcomes import MAIN, SHORT, Found, Outcome, Results
from mixlib.studies import STUDIES
from mixlib.tables import SPENT

PATIENT = "sequence-patience"
LATE = 0.8  # of the patience: where waits as long as that are rewarded, some that were cut off would have been


def splits(found: Found) -> pd.DataFrame:
    """Winners trained again, each seed on a split of its own: test MRR over all test parts, its spread over splits, paired differences.

    The settings are those that won on the split of the main study: only the winners are trained again, the search is not.
    """
    names = {"sd over seeds": "sd over splits", reports.OVER_SEEDS: "over splits, too"}
    return reports.stacked([table.rename(columns=names) for table in _again(found, splits=True)])


def more_seeds(found: Found) -> pd.DataFrame:
    """Winners trained again with more seeds on the split of the main study, whose seeds are not among them."""
    return reports.stacked(_again(found, splits=False))


def again_verdicts(found: Found, splits: bool) -> list[str]:
    """What each mixture gains in the main study, and with the seeds or on the splits that came later, as shares of the MRR."""
    said, tested = [], dict[str, dict[str, float]]()
    for dataset, name in _later(found, splits):
        first, later = found.get((dataset, STUDIES[name].winners_of or "")), found[dataset, name]
        for arm, baseline in later.mixtures:
            if first and first.has(arm, baseline):
                before, after = (share_of(one, arm, baseline) for one in (first, later))
                others = f"on {later.selection.seeds} other splits" if splits else f"with {later.selection.seeds} others"
                budget = f" ({later.unfinished})" if later.unfinished else ""
                found_later = Evidence.of(later, arm, baseline)
                side = f"{'' if later.done else 'so far '}{reports.SIDES[found_later.side]}"
                if deals_users(later):
                    corrected = share_corrected(later.outcomes[arm], later.outcomes[baseline])
                    side += f"; corrected for train parts that overlap, {share_bounds(*corrected.bounds)}"
                said.append(f"{title(dataset)}, {label(arm)} against {label(baseline)}: {before} of the MRR with {first.selection.seeds} "
                            f"seeds of the main study, {after} {others}{budget}, {side}.")  # fmt: skip
                if found_later.p is not None:
                    tested.setdefault(f"{label(arm)} against {label(baseline)}", {})[title(dataset)] = found_later.p
    for who, some in tested.items():
        if len(some) > 1:
            by_case = zip(some, reports.holm(some.values()), strict=True)
            by_holm = ", ".join(f"{reports.p_value(one)} on {where}" for where, one in by_case)
            interval = "planned interval" if splits else "interval"
            said.append(f"{who}, p of the {interval}, corrected for the number of data sets, {len(some)} (Holm): {by_holm}.")
    return said or [reports.NOTHING]


def _again(found: Found, splits: bool) -> list[pd.DataFrame]:
    """The arms of the studies that train winners again: on other splits, or with more seeds."""
    return [_arms(dataset, found[dataset, name]) for dataset, name in _later(found, splits) if found[dataset, name].outcomes]


def _later(found: Found, splits: bool) -> list[tuple[str, str]]:
    """Where the winners of a main study were trained again, on other splits or with more seeds: the data sets, and the studies."""
    return [(dataset, name) for dataset, name in found if STUDIES[name].winners_of in MAIN and STUDIES[name].splits == splits]


def across(found: Found) -> pd.DataFrame:
    """The winners of a main study and those of another study with searches of its own, on the same other splits: what every mixture gains
    over every single vector, as a share of its MRR, for other splits and seeds, and corrected for train parts that overlap.

    Splits that some arm lacks are left out.
    """
    rows = []
    for dataset, other in ((dataset, name) for dataset, name in found if STUDIES[name].splits and STUDIES[name].winners_of not in MAIN):
        family = STUDIES[other].family
        both = [(dataset, name) for where, name in _later(found, splits=True) if where == dataset and STUDIES[name].family == family]
        results = [found[key] for key in (*both, (dataset, other))]
        every = [(one, outcome) for one in results for outcome in one.outcomes.values()]
        if len({one.selection.study.name for one, _ in every}) < 2:
            continue
        shared = set.intersection(*(set(map(_split_seed, outcome.records)) for _, outcome in every))
        cut = [(one, _on(outcome, shared)) for one, outcome in every] if shared else []
        mixtures, vectors = ([(one, outcome) for one, outcome in cut if ("mixture" in outcome.arm) == wanted] for wanted in (True, False))
        for (first, ours), (second, theirs) in product(mixtures, vectors):
            row = {"data set": title(dataset), "mixture": label(ours.arm), "its search": first.selection.study.winners_of,
                   "its test MRR": f"{ours.mrr:.4f}", "against": label(theirs.arm),
                   "the other's search": second.selection.study.winners_of, "the other's test MRR": f"{theirs.mrr:.4f}",
                   "gain, % of the MRR [95%]": str(share(ours, theirs, apart=True))}  # fmt: skip
            corrected = share_bounds(*share_corrected(ours, theirs).bounds) if len(shared) > 1 else ""
            ahead = f"{(ours.by_seed > theirs.by_seed).sum()} of {len(shared)}"
            budget = f"{first.trials_done} and {second.trials_done}, {len(shared)} of {second.selection.planned.seeds}"
            rows.append(row | {"corrected": corrected, "ahead on splits": ahead, "trials of both, seeds": budget})
    return reports.listed(rows)


def _split_seed(record: dict) -> int:
    return record["definition"]["split"]["seed"]


def _on(outcome: Outcome, splits: set[int]) -> Outcome:
    """An outcome of seeds with splits of their own, on these splits alone."""
    users = np.split(outcome.users, np.cumsum([len(values) for values in outcome.each])[:-1])
    kept = [i for i, record in enumerate(outcome.records) if _split_seed(record) in splits]
    same = outcome.of([outcome.each[i] for i in kept], np.concatenate([users[i] for i in kept]))
    return replace(same, records=[outcome.records[i] for i in kept])


def patience(found: Found) -> pd.DataFrame:
    """The main study, which stops early, and the same search with the patience to go to the last epoch: a row for each model."""
    made = []
    for dataset, names in _patient(found):
        for results in (found[dataset, name] for name in names):
            table, outcomes = _arms(dataset, results), results.outcomes.values()
            epochs = [sorted(record["best_epoch"] for record in outcome.records) for outcome in outcomes]
            short = [f"{_short(outcome).sum()} of {len(outcome.records)}" for outcome in outcomes]
            table.insert(1, "patience", [_patience_of(outcome) for outcome in outcomes])
            table.insert(5, "best epochs", [f"{some[0]} to {some[-1]}" for some in epochs])
            table.insert(6, f"below {SHORT:.0%} of the median", short)
            made.append(table)
    return reports.stacked(made)


def _patient(found: Found) -> Iterable[tuple[str, tuple[str, str]]]:
    """The data sets where a main study was searched again with more patience, with the names of both studies."""
    for (dataset, name), results in found.items():
        main = STUDIES[name].beside
        if main and name == PATIENT and results.outcomes and (dataset, main) in found and found[dataset, main].outcomes:
            yield dataset, (main, name)


def _patience_of(outcome: Outcome) -> int:
    return outcome.records[0]["definition"]["training"]["patience"]


def _curve(record: dict) -> list[tuple[int, float]]:
    """The epochs at which a training was validated, in their order, with the MRR."""
    return sorted((int(epoch), mrr) for epoch, mrr in record["validation_mrr"].items())


def stopped(record: dict, patience: int) -> tuple[int, float]:
    """The best epoch of a training, and its validation MRR, had it stopped after as many validations without a better one."""
    best, reached, waited = 0, -np.inf, 0
    for epoch, mrr in _curve(record):
        best, reached, waited = (epoch, mrr, 0) if mrr > reached else (best, reached, waited + 1)
        if waited >= patience:
            break
    return best, float(reached)


def _short(outcome: Outcome) -> np.ndarray:
    """Which seeds (n,) of a winner reach less than SHORT of their median test MRR."""
    return outcome.by_seed < SHORT * np.median(outcome.by_seed)


def _arms(dataset: str, results: Results) -> pd.DataFrame:
    table = reports.arms(results, results.arms[0])
    table = table.drop(columns=["validation MRR", "best epoch", "parameters"], errors="ignore").assign(**{SPENT: reports.spent(results)})
    table.insert(0, "data set", title(dataset))
    return table


def longest_wait(record: dict) -> float:
    """The most validations that a training waited for a better one that came, as a share of its patience."""
    curve = np.array([mrr for _, mrr in _curve(record)])
    better = np.flatnonzero(curve > np.maximum.accumulate(np.append(-np.inf, curve[:-1])))
    return float(np.diff(better).max(initial=0)) / record["definition"]["training"]["patience"]


def waits(found: Found) -> pd.DataFrame:
    """In how many trainings of the winners of the main studies a wait of LATE of the patience, or longer, was still rewarded."""
    rows: dict[str, dict] = {}
    for (dataset, name), results in found.items():
        for arm, outcome in results.outcomes.items() if name in MAIN else ():
            late = sum(longest_wait(record) >= LATE for record in outcome.records)
            rows.setdefault(dataset, {"data set": title(dataset)})[label(arm)] = f"{late} of {len(outcome.records)}"
    return reports.listed(list(rows.values()))


def patience_verdicts(found: Found, ledger: Ledger) -> list[str]:
    """How many trainings of each model early stopping would have cut short, and what they lose on validation, where a part of a curve can
    never reach more than the whole; what the winners differ by on test; and what each mixture gains without it.
    """
    said = []
    for dataset, names in _patient(found):
        stopping, patient = (found[dataset, name] for name in names)
        trials = searching.searched(patient, ledger)
        before, after = (searching.trials_of(one, ledger) for one in (stopping, patient))
        for arm, ours in ((arm, one) for arm, one in patient.outcomes.items() if arm in stopping.outcomes):
            theirs, where = stopping.outcomes[arm], f"{title(dataset)}: {label(arm)}"
            less, more = (_patience_of(one) for one in (theirs, ours))
            trainings = [one for one in (*trials[arm], *ours.records) if one["status"] == "done"]
            lost = np.array([one["validation"]["mrr"] - stopped(one, less)[1] for one in trainings])
            said.append(f"{where}: of {len(lost)} trainings to the last epoch, a patience of {less} would have stopped {(lost > 0).sum()} "
                        f"before their best epoch, and the mean validation MRR would be {lost.mean():.3f} lower.")  # fmt: skip
            gap = replace(Evidence.between(ours, theirs), budget=reports.budgets(patient, stopping))
            said.append(reports.sentence(f"{where} with a patience of {more}", gap, f"one of {less}"))
            said += _by_setting(f"{where}, patience of {more} against one of {less}", after[arm][1], before[arm][1])
        for arm, baseline in patient.mixtures:
            who = f"{title(dataset)}, {label(arm)} without early stopping"
            said.append(reports.sentence(who, Evidence.of(patient, arm, baseline), label(baseline)))
            said += _by_setting(f"{who} against {label(baseline)}", after[arm][1], after[baseline][1])
    return said or [reports.NOTHING]


def _by_setting(who: str, ours: np.ndarray, theirs: np.ndarray) -> list[str]:
    """What search trials with test MRR ours (n,) are ahead by of those at the same settings, theirs (m,), in a sentence; none of fewer than
    two pairs.
    """
    gap = np.subtract(*searching.at_same_settings(ours, theirs))
    if len(gap) < 2:
        return []
    said = with_interval(*searching.student(gap), sign=True)
    return [f"{who}, setting by setting: ahead in {(gap > 0).sum()} of {len(gap)} search trials, mean difference {said} in test MRR."]


def short_seeds(found: Found) -> pd.DataFrame:
    """Winners trained again that fall short of their other seeds: a row for each data set and family of models.

    short: test MRR below SHORT of the median over the seeds of the same winner; early: those of them whose best epoch is less than half
    of the median best epoch; short of search: `Outcome.short_of_search`. Studies of more seeds, of splits and without early stopping,
    methods without epochs and winners of one seed are left out.
    """
    rows = []
    for (dataset, _), results in found.items():
        study = results.selection.study
        for arm, outcome in results.outcomes.items():
            epochs = np.array([record["best_epoch"] for record in outcome.records])
            if study.winners_of or study.name == PATIENT or arm not in study.own or len(epochs) < 2 or not epochs.any():
                continue
            short = _short(outcome)
            early = short & (epochs < np.median(epochs) / 2)
            rows.append({"dataset": dataset, "family": study.family, "seeds": len(short), "short": short.sum(), "early": early.sum(),
                         "short of search": outcome.short_of_search})  # fmt: skip
    table = pd.DataFrame(rows, columns=["dataset", "family", "seeds", "short", "early", "short of search"])
    return table.groupby(["dataset", "family"], as_index=False, sort=False).sum()


def short_table(short: pd.DataFrame) -> pd.DataFrame:
    """The rows of `short_seeds`, for reading."""
    names = {"dataset": "data set", "family": "models", "seeds": "trainings of winners", "short": f"below {SHORT:.0%} of the median",
             "early": "of these, stopped early", "short of search": f"below {SHORT:.0%} of the search"}  # fmt: skip
    return reports.listed(short.assign(dataset=short["dataset"].map(title)).rename(columns=names).to_dict("records"))


def short_verdicts(short: pd.DataFrame) -> list[str]:
    """How many winners' seeds fall short of the others, and how many of these stopped early, in a sentence; none without several seeds."""
    seeds, low, early, below = short[["seeds", "short", "early", "short of search"]].sum()
    said = (
        f"Of {seeds} trainings of winners with fresh seeds, {low} reach less than {SHORT:.0%} of the median test MRR of the same winner; "
        f"of these, {early} have their best epoch at less than half of its median epoch. "
        f"Less than {SHORT:.0%} of what the same settings reached in the search: {below}."
    )
    return [said] if seeds else []
