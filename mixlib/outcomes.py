"""What the records of a study say: outcomes of its arms with intervals, paired differences, what is done of what is planned."""

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from scipy import stats

from mixlib import experiments
from mixlib.datasets import Interactions, load
from mixlib.evaluation import Comparison, compare, interval
from mixlib.labels import TITLES, UNORDERED, label
from mixlib.ledger import Ledger, key_of
from mixlib.names import choose
from mixlib.plans import Selection, Subject, records_of, seeds_of, select
from mixlib.studies import PROFILES, STUDIES, study_for

MAIN = ("sequences", "factorization")  # the studies of Table 1
FEW = 5  # search trials: with fewer, a winner says little of its model, and too few other searches can be drawn
SHORT = 0.8  # of another training with the same settings: one that reaches less falls short


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an arm reached on test, averaged over seeds: values (n,) per user or window, whose they are (n,), and the records used.

    Where every seed has a split of its own, the values of all seeds follow each other instead: a user may be in several test parts.
    by_seed: (s,) means; each: the values (n,) of every seed.
    """

    arm: str
    values: np.ndarray
    users: np.ndarray
    by_seed: np.ndarray
    records: list[dict]
    search: dict
    each: list[np.ndarray] = field(default_factory=list)

    @property
    def mrr(self) -> float:
        """The paper's MRR: mean over windows, or over users."""
        return float(self.values.mean())

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """95% bootstrap interval of the MRR, resampling users."""
        return interval(self.values, self.users)

    @property
    def trainings(self) -> list[dict]:
        """The search's own training of the settings, and those with fresh seeds: the records of methods that count epochs."""
        return [record for record in (self.search, *self.records) if "epochs" in record["definition"]["training"]]

    @property
    def late(self) -> int:
        """How many of the trainings have their best epoch at most a twentieth before the last that is allowed."""
        return sum(one["best_epoch"] >= 0.95 * one["definition"]["training"]["epochs"] for one in self.trainings)

    @property
    def spread(self) -> str:
        """Standard deviation over seeds, as a reader sees it; empty for one seed."""
        return f"{self.by_seed.std(ddof=1):.4f}" if len(self.by_seed) > 1 else ""

    @property
    def short_of_search(self) -> int:
        """How many seeds reach less than SHORT of the test MRR that the search's own training of the same settings reached."""
        return int((self.by_seed < SHORT * self.search["test"]["mrr"]).sum())

    def of(self, each: list[np.ndarray], users: np.ndarray) -> "Outcome":
        """The same models by other values (n,) of every seed, of the users (n,); those of all seeds where each has a split of its own."""
        values = np.concatenate(each) if len(users) > len(each[0]) else np.mean(each, axis=0)
        return replace(self, values=values, users=users, by_seed=np.array([one.mean() for one in each]), each=each)

    def at(self, where: np.ndarray) -> "Outcome":
        """The same models on those of the test's rows where (n,) is true."""
        return self.of([values[where] for values in self.each], self.users[where])

    def metric(self, name: str) -> float:
        """Mean over seeds of another test metric of the records."""
        return float(np.mean([record["test"][name] for record in self.records]))


@dataclass(frozen=True, eq=False)
class Results:
    """A study's selection and the outcome of every arm; no outcomes before each winner has a seed. left_out: what was not used, and why."""

    selection: Selection
    outcomes: dict[str, Outcome]
    left_out: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether all search trials and seeds that were planned are done, whatever other arms have not begun yet."""
        chosen = self.selection
        return chosen.trials >= chosen.planned.trials and chosen.tried >= chosen.planned.seeds

    @property
    def whole(self) -> bool:
        """Whether all that was planned is done, for every arm."""
        return self.done and not self.selection.ahead

    @property
    def trials_done(self) -> str:
        """`3 of 20`: search trials of every arm, done of planned."""
        return f"{self.selection.trials} of {self.selection.planned.trials}"

    @property
    def seeds_done(self) -> str:
        """`2 of 5`: seeds of every winner, done of planned; `2 of 5, 1 failed` where a winner's training failed with one of them."""
        failed = self.selection.tried - self.selection.seeds
        return f"{self.selection.seeds} of {self.selection.planned.seeds}" + (f", {failed} failed" if failed > 0 else "")

    @property
    def missing(self) -> int:
        """Planned trials that are not recorded. While the search of arms that have begun goes on all their seeds count, since another trial
        may win; else those that not every winner has. What a study shares with the one that it stands beside, or takes over from another,
        counts there.
        """
        chosen, study = self.selection, self.selection.study
        taken_over = "search" if study.winners_of else ""
        left = [trial for trial in chosen.missing if trial.arm in study.own and trial.stage != taken_over]
        if not any(trial.stage == "search" for trial in chosen.missing):
            return len(left)
        there = chosen.tried if chosen.trials >= chosen.planned.trials else 0  # seeds of those arms whose search is complete
        seeds = {arm: seeds_of(study.arms[arm].kind, chosen.planned.seeds) for arm in study.own}
        return len(left) + sum(number - min(number, 0 if arm in chosen.ahead else there) for arm, number in seeds.items())

    @property
    def unfinished(self) -> str:
        """`3 of 20 trials, 2 of 5 seeds`: done of planned; empty where all that was planned is done."""
        return "" if self.done else f"{self.trials_done} trials, {self.seeds_done} seeds"

    @property
    def budget(self) -> str:
        """One sentence: what was done of what was planned."""
        done = f"{self.trials_done} search trials for each arm, {self.seeds_done} seeds for each winner."
        return done + (f" Not begun: {'; '.join(map(label, ahead))}." if (ahead := self.selection.ahead) else "")

    @property
    def marks(self) -> list[str]:
        """What tells the records behind the outcomes from others, also from those of the same trials trained again."""
        return [key_of(record) for outcome in self.outcomes.values() for record in outcome.records]

    @property
    def mixtures(self) -> list[tuple[str, str]]:
        """The mixtures of a main study, each with the single vector of its family: those pairs of which neither failed in all trials."""
        baseline, *others = self.arms
        return [(arm, baseline) for arm in others if self.has(arm, baseline)]

    @property
    def arms(self) -> list[str]:
        """All arms of the study, the baseline first, even where the results are of some alone."""
        return [*STUDIES.get(self.selection.study.name, self.selection.study).arms]

    def has(self, *arms: str) -> bool:
        """Whether all of the arms have an outcome."""
        return set(arms) <= self.outcomes.keys()


@lru_cache(maxsize=4096)  # several tables and figures show the same difference
def paired(ours: Outcome, theirs: Outcome) -> Comparison:
    """Paired comparison of two outcomes. Raises ValueError when they are not of the same users in the same order."""
    if not np.array_equal(ours.users, theirs.users):
        raise ValueError(f"{ours.arm} and {theirs.arm} were tested on different users, so that they cannot be compared in pairs.")
    return compare(ours.values, theirs.values, ours.users)


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, and the degrees of freedom of that, for Student's t."""

    value: float
    error: float
    freedom: float

    @property
    def bounds(self) -> tuple[float, float]:
        """Its 95% interval."""
        return around(self.value, self.error, self.freedom)

    @property
    def p(self) -> float:
        """The two-sided p-value of 0: below 0.05 where the interval leaves 0 out."""
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom)) if self.error else float(self.value == 0)


def estimate(ours: Outcome, theirs: Outcome, apart: bool = False) -> Estimate | None:
    """The mean difference of two outcomes for other users and other seeds; None where either has one seed.

    Variances are added, that of the mean difference over users and that of the mean over seeds on each side; the degrees of freedom are
    those of Welch and Satterthwaite, so that few seeds make an interval wide; users count as many. What is noise of one user with one seed
    is in both, so that the error is rather too large. apart: every seed has a split of its own, the same one on both sides; then the second
    is of the mean over splits.
    """
    sides = [ours.by_seed - theirs.by_seed] if apart else [ours.by_seed, theirs.by_seed]
    if min(map(len, sides)) < 2:
        return None
    gap = paired(ours, theirs).difference
    return Estimate(gap, *added(over_users(ours.values - theirs.values, np.ones(len(ours.values)), ours.users), sides))


def around(value: float, error: float, freedom: float) -> tuple[float, float]:
    """Student's 95% interval of a value with a standard error and its degrees of freedom."""
    half = float(stats.t.ppf(0.975, freedom)) * error
    return value - half, value + half


def over_users(above: np.ndarray, below: np.ndarray, users: np.ndarray) -> float:
    """Variance over users of sum(above) / sum(below), (n,) each; users: (n,) whose they are, all of a user come or go together.

    Linearised, as of a ratio of sums over clusters (Cochran 1977, Sampling Techniques, chapter 6): unlike that of a bootstrap it is always
    the same, so that no draw decides what is near the line. Infinite of one user, who says nothing of others.
    """
    above, below = above.astype(float), below.astype(float)
    return of_users((above - above.sum() / below.sum() * below) / below.sum(), users)


def of_users(residuals: np.ndarray, users: np.ndarray) -> float:
    """Variance over users of what changes by the residuals (n,) of the rows that are drawn; users: (n,) whose they are."""
    left = np.bincount(np.unique(users, return_inverse=True)[1], residuals)
    return float((left**2).sum() * len(left) / (len(left) - 1)) if len(left) > 1 else float("inf")


def added(users: float, sides: list[np.ndarray]) -> tuple[float, float]:
    """Standard error of what has a variance over users and means over seeds on its sides, (n,) each, and its degrees of freedom."""
    seeds = [float(side.var(ddof=1)) / len(side) for side in sides]
    freedom = sum(one**2 / (len(side) - 1) for one, side in zip(seeds, sides, strict=True))
    total = users + sum(seeds)
    return float(np.sqrt(total)), float(total**2 / freedom if freedom else np.inf)


def study(
    name: str, interactions: Interactions, profile: str = "paper", ledger: str | Path | Ledger = "results", arms: Iterable[str] = (),
    **budget,
) -> Results:  # fmt: skip
    """Results of a study on a data set: computed in place (`demo`), or what the ledger holds (`paper`).

    arms: only these, all if none is named. budget: fields of the profile's Budget to replace, such as trials=1.
    Raises ValueError on unknown names, TypeError on a field that Budget has not, FileNotFoundError where the folder of a ledger is not
    there, ImportError where a demo needs the package `implicit` and it is not installed.
    """
    plan = study_for(name, interactions).only(arms)
    planned = replace(PROFILES[choose("profile", profile, PROFILES)].of(plan), **budget)
    if profile == "demo":
        selection, arrays = experiments.compute(name, interactions, planned, plan.arms)
        return _results(selection, lambda record: arrays[record["key"]])
    if not isinstance(ledger, Ledger):
        ledger = ledger_in(ledger)
    subject, records = Subject.of(interactions), records_of(plan, ledger, interactions.name)
    ours = subject if plan.family == "sequences" else replace(subject, max_length=0, min_length=0)
    return _results(select(plan, records, subject, planned), ledger.arrays, left_out_of(ledger, interactions.name, name, ours))


def ledger_in(folder: str | Path) -> Ledger:
    """The ledger in a folder. Raises FileNotFoundError where the folder is not there."""
    ledger = Ledger(folder)
    if not ledger.root.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}: give that of a ledger, which `mixlib run` makes.")
    return ledger


def best(outcomes: Iterable[Outcome]) -> Outcome | None:
    """The outcome whose winner is the best on validation; None of none."""
    return max(outcomes, key=lambda outcome: outcome.search["validation"]["mrr"], default=None)


def nothing(name: str) -> Results:
    """Results of a study that cannot be run on a data set: none, and nothing is missing."""
    study = STUDIES[choose("study", name, STUDIES)]
    return Results(Selection(study, PROFILES["paper"].of(study), 0, {}, {}, []), {})


def version_of(ledger: Ledger, dataset: str) -> Subject | None:
    """The version of a data set that counts, the same one for all studies; None without records.

    It is that of the data that lie here, and of one's own data with the windows that they say. Of a data set of the book, whose readers may
    have another form of it, that needs records; otherwise, and where no data lie here, it is the one with the most records, and with the
    windows of most of these.
    """
    subjects = [Subject.of_record(record) for study in STUDIES for record in ledger.read(dataset, study).values()]
    every = [subject.fingerprint for subject in subjects]
    versions = sorted(set(every))
    own = dataset not in TITLES and not dataset.startswith("synthetic")
    if len(versions) > 1 or (versions and own):
        here = lies_here(dataset)
        if here and (own or here.fingerprint in versions):
            return here if own else replace(here, max_length=0, min_length=0)
    if not versions:
        return None
    most = Subject(dataset, max(versions, key=every.count), 0, 0)
    windows = Counter(subject for subject in subjects if subject.max_length and most.agrees(subject))
    return max(sorted(windows, key=str), key=windows.__getitem__, default=most)


def lies_here(dataset: str) -> Subject | None:
    """A data set as it lies here; None if it does not, or cannot be read."""
    with suppress(ValueError, OSError):
        return Subject.of(load(dataset))
    return None


def recorded(ledger: Ledger, dataset: str, name: str, version: Subject | None = None) -> Results | None:
    """Results of a study from its records alone, without the data; None if there are none.

    version: of the data, the same one for all studies: `version_of` the data set if none is given.
    """
    version, records = version or version_of(ledger, dataset), ledger.read(dataset, name)
    counted = Counter(subject for subject in map(Subject.of_record, records.values()) if version and version.agrees(subject))
    if not counted:
        return None
    ours, study = max(sorted(counted, key=str), key=counted.__getitem__), STUDIES[name]
    selection = select(study, records_of(study, ledger, dataset), ours, PROFILES["paper"].of(study))
    return _results(selection, ledger.arrays, left_out_of(ledger, dataset, name, ours))


def left_out_of(ledger: Ledger, dataset: str, name: str, ours: Subject) -> tuple[str, ...]:
    """One clause for each record of a study that does not count, and for each other version of the data, or of its windows, that it has
    records of.
    """
    subjects = Counter(map(Subject.of_record, ledger.read(dataset, name).values()))
    others = {str(one): (number, one.fingerprint == ours.fingerprint) for one, number in subjects.items() if one != ours}
    return (
        *(f"the record {path.name} does not count, {why}" for path, why in ledger.damaged(dataset, name).items()),
        *(
            f"{number} records are of {'other windows' if same else 'another version of the data'}, {version}"
            for version, (number, same) in sorted(others.items())
        ),
    )


def _results(selection: Selection, arrays: Callable[[dict], dict[str, np.ndarray]], left_out: tuple[str, ...] = ()) -> Results:
    outcomes = {}
    for arm, finalists in selection.finalists.items() if selection.seeds else ():
        if arm not in selection.winners:  # all its trials failed
            continue
        seeds = [arrays(record) for record in finalists]
        values = [seed["reciprocal_ranks"] for seed in seeds]
        users, by_seed = [seed["users"] for seed in seeds], np.array([some.mean() for some in values])
        apart = selection.study.splits  # every seed has a test part of its own
        reached, whose = (np.concatenate(values), np.concatenate(users)) if apart else (np.mean(values, axis=0), users[0])
        outcomes[arm] = Outcome(arm, reached, whose, by_seed, finalists, selection.winners[arm], values)
    return Results(selection, outcomes, left_out)


def apart(dataset: str) -> bool:
    """Whether a data set has tables of its own, by its name or its folder's: the cells of the factorial, and data with copies."""
    return dataset.startswith(("synthetic_", "synthetic:")) or "copies=" in dataset


Found = dict[tuple[str, str], Results]  # by (data set, study)


def collected(ledger: Ledger, names: Iterable[str] = STUDIES, datasets: Iterable[str] | None = None) -> Found:
    """Results of the given studies on the given data sets (default: all that have records, but no generated users and none `apart`)."""
    known = (dataset for dataset in ledger.datasets() if dataset != "synthetic" and not apart(dataset))
    where = list(known) if datasets is None else datasets
    versions = {dataset: version_of(ledger, dataset) for dataset in where}
    found = {(dataset, name): recorded(ledger, dataset, name, version=versions[dataset]) for dataset in where for name in names}
    return by_budget({key: results for key, results in found.items() if results})


def by_budget(found: dict[tuple[str, str], Results]) -> dict[tuple[str, str], Results]:
    """The same results by (data set, study), the data sets with the most search trials in the main studies first."""
    done = {dataset: -sum(found[dataset, name].selection.trials for name in MAIN if (dataset, name) in found) for dataset, _ in found}
    return dict(sorted(found.items(), key=lambda item: (done[item[0][0]], item[0][0])))


def unordered(ledger: Ledger, datasets: Iterable[str]) -> set[str]:
    """Those of the data sets that have no order in time, and all UNORDERED: as they lie here, else as they were counted for the book."""
    kept, found = ledger.noted("counts"), set(UNORDERED)
    for dataset in (dataset for dataset in datasets if dataset not in TITLES and not apart(dataset)):
        ordered = kept.get(dataset, {}).get("ordered", True)
        with suppress(ValueError, OSError):  # it does not lie here, or cannot be read
            ordered = load(dataset).ordered
        found |= set() if ordered else {dataset}
    return found
