"""Which trials make up a study on a data set: planned before anything runs, the same on every machine; and what records say of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from hashlib import sha256
from itertools import zip_longest

from sklearn.model_selection import ParameterSampler

from mixlib import references, training
from mixlib.datasets import Interactions
from mixlib.ledger import Ledger, key_of
from mixlib.studies import PATIENCE, Budget, Study

PROTOCOL = 1  # goes into every key: raise it when the meaning of a definition changes


@dataclass(frozen=True)
class Subject:
    """What a trial needs to know of a data set before it is loaded."""

    dataset: str
    fingerprint: str
    max_length: int
    min_length: int

    @classmethod
    def of(cls, interactions: Interactions) -> "Subject":
        """The subject that a data set is."""
        return cls(interactions.name, interactions.fingerprint, interactions.max_length, interactions.min_length)

    @classmethod
    def of_record(cls, record: dict) -> "Subject":
        """The subject that a record is about; lengths 0 where it has no windows, names empty where its definition is of another form."""
        definition = record["definition"] if isinstance(record["definition"], dict) else {}
        split = definition["split"] if isinstance(definition.get("split"), dict) else {}
        return cls(definition.get("dataset", ""), definition.get("fingerprint", ""), split.get("max_length", 0), split.get("min_length", 0))

    def agrees(self, other: "Subject") -> bool:
        """Whether both are of the same data and windows; lengths of 0 stand for any windows."""
        windows = [(one.max_length, one.min_length) for one in (self, other) if one.max_length]
        return self.fingerprint == other.fingerprint and len(set(windows)) < 2

    def __str__(self) -> str:
        windows = f", windows of {self.min_length} to {self.max_length}" if self.max_length else ""
        return f"fingerprint {self.fingerprint}{windows}"


@dataclass(frozen=True)
class Trial:
    """One training: where it belongs (study, arm, stage, index), and what defines it and its key (everything else)."""

    study: str
    arm: str
    stage: str
    index: int
    definition: dict

    @cached_property
    def key(self) -> str:
        """The hash of the definition: the name of its record."""
        return key_of(self.definition)


def search_trials(study: Study, subject: Subject, budget: Budget) -> dict[str, list[Trial]]:
    """The search of every arm: trial i draws from a generator seeded by the study's name and i, the same for all arms.

    A study that takes over the search of another has that study's trials; one beside another has its draws, and its trials of shared arms.
    """
    space, name = budget.space[study.family], study.winners_of or study.name
    plan: dict[str, list[Trial]] = {label: [] for label in study.arms}
    for i in range(budget.trials):
        seed = int.from_bytes(sha256(f"{study.beside or name}/{i}".encode()).digest()[:4], "big")
        drawn = next(iter(ParameterSampler(space, 1, random_state=seed)))
        for label, arm in study.arms.items():
            where = name if study.beside is None or label in study.own else study.beside
            if arm.kind in references.KINDS:
                model = _reference(arm.kind, budget.dim[study.family], seed) | arm.model
                plan[label].append(Trial(where, label, "search", i, define(study.family, subject, model, {"seed": 0}, **arm.split)))
                continue
            model = {"kind": arm.kind, "dim": budget.dim[study.family]}
            if "mixture" in arm.kind:
                model["components"] = int(drawn["components"])
            if arm.kind == "projection_mixture":
                model["gain"] = float(drawn["gain"])
            if arm.as_large:  # m tastes and their attention
                model["dim"] = int(arm.as_large * 2 * int(drawn["components"]) * model["dim"])
            settings = training.Settings(
                loss=arm.loss, batch_size=int(drawn["batch_size"]), learning_rate=float(drawn["learning_rate"]), l2=float(drawn["l2"]),
                epochs=budget.epochs[study.family], **(PATIENCE[study.family] | arm.training),
            )  # fmt: skip
            plan[label].append(Trial(where, label, "search", i, define(study.family, subject, model | arm.model, settings, **arm.split)))
    return plan


def _reference(kind: str, dim: int, seed: int) -> dict:
    """A reference with settings from its own ranges; where it has vectors, they are as wide as those of the models."""
    space = references.KINDS[kind].space
    drawn = next(iter(ParameterSampler(space, 1, random_state=seed))) if space else {}
    settings = {name: int(value) if isinstance(space[name], list) else float(value) for name, value in drawn.items()}
    return {"kind": kind} | ({"dim": dim} if references.KINDS[kind].random else {}) | settings


def define(family: str, subject: Subject, model: dict, settings: training.Settings | dict, **split) -> dict:
    """The definition of a trial: data, split (seed and fractions may be given), model, training, seed."""
    split = {"fractions": [0.8, 0.1, 0.1], "seed": 0} | split
    if family == "sequences":
        split |= {"max_length": subject.max_length, "min_length": subject.min_length}
    return {"protocol": PROTOCOL, "dataset": subject.dataset, "fingerprint": subject.fingerprint, "family": family, "split": split,
            "model": model, "training": settings if isinstance(settings, dict) else asdict(settings)}  # fmt: skip


def seeds_of(kind: str, seeds: int) -> int:
    """How many trainings a winner's seeds are: a single one of a reference that uses no chance."""
    return seeds if kind not in references.KINDS or references.KINDS[kind].random else 1


def size(study: Study, budget: Budget) -> int:
    """How many trainings a study plans on any data set, those of arms that it shares left out."""
    searched = {} if study.winners_of else search_trials(study, Subject("", "", 0, 0), budget)
    search = sum(len({trial.key for trial in trials}) for arm, trials in searched.items() if arm in study.own)
    return search + sum(seeds_of(study.arms[arm].kind, budget.seeds) for arm in study.own)


def seed_trials(study: Study, winner: Trial, seeds: int) -> list[Trial]:
    """The winner's settings with as many seeds, from the study's first on; the search itself used seed 0. What uses no chance is trained
    once for all seeds.

    They belong to the study of the winner's search, or to the study that took that over.
    """
    again, differ = [], seeds_of(winner.definition["model"]["kind"], 2) > 1
    for seed in range(study.first_seed, study.first_seed + seeds):
        settings = winner.definition["training"] | {"seed": seed if differ else 1}
        split = winner.definition["split"] | ({"seed": seed} if study.splits else {})
        definition = winner.definition | {"training": settings, "split": split}
        again.append(
            replace(winner, study=study.name if study.winners_of else winner.study, stage="seeds", index=seed, definition=definition)
        )
    return again


def records_of(study: Study, ledger: Ledger, dataset: str) -> dict[str, dict]:
    """The records by key that a selection of the study rests on: its own, and those of the study whose search or draws it shares."""
    return (ledger.read(dataset, study.other) if study.other else {}) | ledger.read(dataset, study.name)


@dataclass(frozen=True)
class Selection:
    """What the records of a study say: n search trials of every arm that has begun, their winners, and the winners' retrained records.

    A seed with which some winner's training failed counts for no arm. tried: seeds of every winner that are recorded, failed or not.
    """

    study: Study
    planned: Budget
    trials: int
    winners: dict[str, dict]
    finalists: dict[str, list[dict]]
    missing: list[Trial]
    tried: int = 0

    @property
    def ahead(self) -> list[str]:
        """The arms of which nothing is recorded yet."""
        return [arm for arm in self.study.arms if arm not in self.finalists]

    @property
    def seeds(self) -> int:
        """How many seeds of every winner are recorded."""
        return min((len(self.finalists[arm]) for arm in self.winners), default=0)

    def share(self, i: int, n: int) -> list[Trial]:
        """The missing trials of the share i of n, counted from 1: which share a trial falls to does not depend on what is there already.

        Every n trials in a row, index by index and arm by arm, go one to each share; the next n begin a share further, so that a share
        meets all arms. Arms that are shared with another study, and may all be there already, are counted apart.
        """
        own = self.study.own
        shared = [label for label in self.study.arms if label not in own]

        def ours(trial: Trial) -> bool:
            arms, row = own if trial.arm in own else shared, trial.index - (trial.stage == "seeds")  # seeds are counted from 1
            place = row * len(arms) + arms.index(trial.arm)
            return (place + place // n) % n == i - 1

        return list(filter(ours, self.missing))


def select(study: Study, records: dict[str, dict], subject: Subject, budget: Budget) -> Selection:
    """Choose every arm's winner by validation MRR, each arm among the same first n trials, and say what is missing of the plan.

    n is the one for which the most arms have a winner, among those the one with the most seeds of all winners tried, failed or not, and
    among those the largest. Every arm gets the same seeds.
    Arms without any record, such as those that a study was given later, do not hold up the others; nor do those of which a study that takes
    over winners has trained none.
    """
    plan = search_trials(study, subject, budget)
    missing = _lacking((trial for trials in zip(*plan.values(), strict=True) for trial in trials), records)
    plan = {arm: trials for arm, trials in plan.items() if any(trial.key in records for trial in trials)}
    if not plan:
        return Selection(study, budget, 0, {}, {}, missing)
    done = min(next((i for i, t in enumerate(trials) if t.key not in records), budget.trials) for trials in plan.values())
    found = [_selection(study, records, budget, plan, n, missing) for n in range(1, done + 1)]
    if not found:
        return Selection(study, budget, 0, {}, {}, missing)
    chosen = max(found, key=lambda one: (bool(study.winners_of and one.tried), len(one.winners), one.tried, one.trials))
    return replace(chosen, missing=found[-1].missing)


def _selection(study: Study, records: dict, budget: Budget, plan: dict[str, list[Trial]], n: int, missing: list[Trial]) -> Selection:
    best = {arm: _best(trials[:n], records) for arm, trials in plan.items()}
    again = {arm: seed_trials(study, trial, budget.seeds) if trial else [] for arm, trial in best.items()}
    every = {arm: {t.index: records[t.key] for t in trials if t.key in records} for arm, trials in again.items()}
    lacking = [] if missing else _lacking((t for trials in zip_longest(*again.values()) for t in trials if t), records)
    if study.winners_of and any(every.values()):  # all arms have the other study's trials: those of which no winner is trained here wait
        best = {arm: trial for arm, trial in best.items() if every[arm]}
    there = {arm: {i: record for i, record in every[arm].items() if record["status"] == "done"} for arm in best}
    seeds = sorted(set.intersection(*(set(there[arm]) for arm, trial in best.items() if trial)) if any(best.values()) else [])
    winners = {arm: records[trial.key] for arm, trial in best.items() if trial}
    tried = len(set.intersection(*(set(every[arm]) for arm in winners))) if winners else 0
    finalists = {arm: [made[i] for i in seeds if made] for arm, made in there.items()}
    return Selection(study, budget, n, winners, finalists, missing + lacking, tried)


def _lacking(trials: Iterable[Trial], records: dict[str, dict]) -> list[Trial]:
    """The trials without a record, each definition once: where nothing is drawn, all trials of an arm are the same."""
    found: dict[str, Trial] = {}
    for trial in trials:
        if trial.key not in records:
            found.setdefault(trial.key, trial)
    return list(found.values())


def _best(trials: list[Trial], records: dict[str, dict]) -> Trial | None:
    done = [trial for trial in trials if records[trial.key]["status"] == "done"]
    return max(done, key=lambda trial: records[trial.key]["validation"]["mrr"], default=None)
