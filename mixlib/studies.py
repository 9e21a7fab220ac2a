"""Which trials make up a study: planned before anything runs, the same on every machine.

A study compares arms. Every arm gets the same number of search trials, drawn in advance from the same ranges; the one with the best
validation MRR wins, and its settings are trained again with fresh seeds.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import zip_longest

from scipy.stats import loguniform
from sklearn.model_selection import ParameterSampler

from mixlib import references, training
from mixlib.datasets import Interactions
from mixlib.ledger import Ledger, key_of
from mixlib.names import choose

PROTOCOL = 1  # goes into every key: raise it when the meaning of a definition changes

SEQUENCE_SPACE = {  # protocol: the published ranges, wider where published winners sat on the border
    "batch_size": [32, 64, 96, 128],
    "learning_rate": loguniform(math.exp(-7), math.exp(-3)),
    "l2": loguniform(math.exp(-25), math.exp(-9)),
    "components": [2, 4, 6, 8],
}
FACTORIZATION_SPACE = {
    "batch_size": [512, 1024, 2048, 4096, 8192, 16384],
    "learning_rate": loguniform(math.exp(-8), math.exp(-4)),
    "l2": loguniform(math.exp(-25), math.exp(-9)),
    "components": [2, 4, 6, 8],
    "gain": loguniform(0.1, 50),
}
PATIENCE: dict[str, dict] = {"sequences": {"validate_every": 1, "patience": 10}, "factorization": {"validate_every": 5, "patience": 5}}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a kind of model or of reference, a loss (which a reference does not use), and what is given instead of
    drawn: of the model, the training, the split.
    """

    kind: str
    loss: str = "adaptive_hinge"
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    split: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Arms by label, all of one family, `sequences` or `factorization`; trials: fewer than the budget's, if the study plans so.

    winners_of: the study whose search it takes over instead of one of its own; every seed then draws a split, too. only_for: the one
    data set that it is planned for, if not for all.
    """

    name: str
    family: str
    arms: dict[str, Arm]
    trials: int | None = None
    winners_of: str | None = None
    only_for: str | None = None

    def only(self, arms: Iterable[str]) -> "Study":
        """The same study with these arms alone, all if none is named. Raises ValueError that says which arms exist."""
        chosen = [choose("arm", arm, self.arms) for arm in arms]
        return replace(self, arms={arm: self.arms[arm] for arm in chosen}) if chosen else self


@dataclass(frozen=True)
class Budget:
    """What a study may spend: search trials per arm, seeds per winner, the most epochs, and the ranges to draw from."""

    trials: int
    seeds: int
    epochs: dict[str, int]
    dim: dict[str, int]
    space: dict[str, dict]

    def of(self, study: Study) -> "Budget":
        """This budget with as few trials as the study plans."""
        return replace(self, trials=min(self.trials, study.trials or self.trials))


PAPER = Budget(20, 5, {"sequences": 100, "factorization": 200}, {"sequences": 64, "factorization": 32},
               {"sequences": SEQUENCE_SPACE, "factorization": FACTORIZATION_SPACE})  # fmt: skip
DEMO = Budget(2, 2, {"sequences": 15, "factorization": 20}, {"sequences": 16, "factorization": 8}, {
    "sequences": SEQUENCE_SPACE | {"batch_size": [32], "learning_rate": loguniform(1e-2, 4e-2), "components": [2, 4]},
    "factorization": FACTORIZATION_SPACE | {"batch_size": [512], "learning_rate": loguniform(5e-3, 2e-2), "components": [2, 4],
                                            "gain": loguniform(0.5, 5)},
})  # fmt: skip
PROFILES = {"paper": PAPER, "demo": DEMO}


def _kinds(*kinds: str) -> dict[str, Arm]:
    return {kind: Arm(kind) for kind in kinds}


def _losses(*kinds: str) -> dict[str, Arm]:
    return {f"{kind}/{loss}": Arm(kind, loss) for kind in kinds for loss in training.LOSSES}


def _components(kind: str) -> dict[str, Arm]:
    return {f"{kind}/{m}": Arm(kind, model={"components": m}) for m in (1, 2, 4, 6, 8, 12)}


def _dims(*arms: Arm, dims: tuple[int, ...]) -> dict[str, Arm]:
    return {f"{arm.kind}/dim {d}": replace(arm, model=arm.model | {"dim": d}) for arm in arms for d in dims}


_LSTM, _MIXTURE_LSTM = Arm("lstm"), Arm("mixture_lstm", model={"components": 4})
_FACTORIZATION, _EMBEDDING_MIXTURE = Arm("factorization"), Arm("embedding_mixture", model={"components": 4})


STUDIES = {
    study.name: study
    for study in (
        Study("sequences", "sequences", _kinds("lstm", "mixture_lstm")),
        Study("factorization", "factorization", _kinds("factorization", "projection_mixture", "embedding_mixture")),
        Study("sequence-splits", "sequences", _kinds("lstm", "mixture_lstm"), winners_of="sequences", only_for="movielens-100k"),
        Study(
            "factorization-splits",
            "factorization",
            _kinds("factorization", "projection_mixture", "embedding_mixture"),
            winners_of="factorization",
            only_for="movielens-100k",
        ),
        Study("sequence-losses", "sequences", _losses("lstm", "mixture_lstm"), 10),
        Study("factorization-losses", "factorization", _losses("factorization", "embedding_mixture"), 10),
        Study("sequence-components", "sequences", _components("mixture_lstm"), 8),
        Study("factorization-components", "factorization", _components("embedding_mixture"), 8),
        Study(  # 91: as many parameters in the encoder as a mixture of four tastes; 256: a state as wide as its tastes together
            "sequence-capacity",
            "sequences",
            _dims(_LSTM, dims=(64, 91, 256)) | _dims(_MIXTURE_LSTM, dims=(64,)),
            10,
        ),
        Study(  # 256: as many parameters for each user as four tastes of 32 with their attention
            "factorization-capacity",
            "factorization",
            _dims(_FACTORIZATION, dims=(32, 256)) | _dims(_EMBEDDING_MIXTURE, dims=(32,)),
            10,
        ),
        Study("sequence-references", "sequences", _kinds("popularity", "markov", "item_knn", "ease", "als")),
        Study("factorization-references", "factorization", _kinds("popularity", "item_knn", "ease", "als")),
        Study("sequence-dims", "sequences", _dims(_LSTM, _MIXTURE_LSTM, dims=(2, 4, 8, 16, 64)), 8),
        Study("factorization-dims", "factorization", _dims(_FACTORIZATION, _EMBEDDING_MIXTURE, dims=(2, 4, 8, 16, 32)), 8),
        Study(
            "sequence-variants",
            "sequences",
            {
                "lstm": Arm("lstm"),
                "lstm/shuffled ties": Arm("lstm", split={"shuffle_ties": 0}),
                "lstm/no own positives": Arm("lstm", training={"exclude_positives": True}),
            },
        ),
        Study(
            "factorization-variants",
            "factorization",
            {
                "factorization": Arm("factorization"),
                "factorization/holdout 0.05": Arm("factorization", split={"fractions": [0.95, 0.025, 0.025]}),
                "factorization/no own positives": Arm("factorization", training={"exclude_positives": True}),
                "projection_mixture/gain 0.1": Arm("projection_mixture", model={"gain": 0.1}),
                "projection_mixture/gain 1": Arm("projection_mixture", model={"gain": 1.0}),
                "projection_mixture/gain 15": Arm("projection_mixture", model={"gain": 15.0}),
            },
        ),
    )
}


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
        """The subject that a record is about; lengths 0 where it has no windows."""
        d = record["definition"]
        return cls(d["dataset"], d["fingerprint"], d["split"].get("max_length", 0), d["split"].get("min_length", 0))

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

    A study that takes over the search of another has that study's trials.
    """
    space, name = budget.space[study.family], study.winners_of or study.name
    plan: dict[str, list[Trial]] = {label: [] for label in study.arms}
    for i in range(budget.trials):
        seed = int.from_bytes(sha256(f"{name}/{i}".encode()).digest()[:4], "big")
        drawn = next(iter(ParameterSampler(space, 1, random_state=seed)))
        for label, arm in study.arms.items():
            if arm.kind in references.KINDS:
                model = _reference(arm.kind, budget.dim[study.family], seed) | arm.model
                plan[label].append(Trial(name, label, "search", i, define(study.family, subject, model, {"seed": 0}, **arm.split)))
                continue
            model = {"kind": arm.kind, "dim": budget.dim[study.family]}
            if "mixture" in arm.kind:
                model["components"] = int(drawn["components"])
            if arm.kind == "projection_mixture":
                model["gain"] = float(drawn["gain"])
            settings = training.Settings(
                loss=arm.loss, batch_size=int(drawn["batch_size"]), learning_rate=float(drawn["learning_rate"]), l2=float(drawn["l2"]),
                epochs=budget.epochs[study.family], **PATIENCE[study.family], **arm.training,
            )  # fmt: skip
            plan[label].append(Trial(name, label, "search", i, define(study.family, subject, model | arm.model, settings, **arm.split)))
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


def seed_trials(study: Study, winner: Trial, seeds: int) -> list[Trial]:
    """The winner's settings with the seeds 1, 2, ...; the search itself used seed 0. What uses no chance is trained once for all seeds."""
    reference = references.KINDS.get(winner.definition["model"]["kind"])
    again = []
    for seed in range(1, seeds + 1):
        settings = winner.definition["training"] | {"seed": seed if reference is None or reference.random else 1}
        split = winner.definition["split"] | ({"seed": seed} if study.winners_of else {})
        definition = winner.definition | {"training": settings, "split": split}
        again.append(replace(winner, study=study.name, stage="seeds", index=seed, definition=definition))
    return again


def records_of(study: Study, ledger: Ledger, dataset: str) -> dict[str, dict]:
    """The records by key that a selection of the study rests on: its own, and those of the search that it takes over."""
    searched = ledger.read(dataset, study.winners_of) if study.winners_of else {}
    return searched | ledger.read(dataset, study.name)


@dataclass(frozen=True)
class Selection:
    """What the records of a study say: n search trials of every arm that has begun, their winners, and the winners' retrained records."""

    study: Study
    planned: Budget
    trials: int
    winners: dict[str, dict]
    finalists: dict[str, list[dict]]
    missing: list[Trial]

    @property
    def ahead(self) -> list[str]:
        """The arms of which nothing is recorded yet."""
        return [arm for arm in self.study.arms if arm not in self.finalists]

    @property
    def seeds(self) -> int:
        """How many seeds of every winner are recorded."""
        return min((len(self.finalists[arm]) for arm in self.winners), default=0)

    @property
    def complete(self) -> bool:
        """Whether every arm that has begun has a winner with at least one retrained record."""
        return bool(self.finalists) and all(self.finalists.values())

    def share(self, i: int, n: int) -> list[Trial]:
        """The missing trials of the share i of n, counted from 1: which share a trial falls to does not depend on what is there already.

        Every n trials in a row, index by index and arm by arm, go one to each share; the next n begin a share further, so that a share
        meets all arms.
        """
        labels = list(self.study.arms)
        rows = ((trial, trial.index - (trial.stage == "seeds")) for trial in self.missing)  # seeds are counted from 1
        places = ((trial, row * len(labels) + labels.index(trial.arm)) for trial, row in rows)
        return [trial for trial, place in places if (place + place // n) % n == i - 1]


def select(study: Study, records: dict[str, dict], subject: Subject, budget: Budget) -> Selection:
    """Choose every arm's winner by validation MRR, each arm among the same first n trials, and say what is missing of the plan.

    n is the one for which the most seeds of all winners are there, and among those the largest. Every arm gets the same seeds.
    Arms without any record, such as those that a study was given later, do not hold up the others.
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
    chosen = max(found, key=lambda selection: (selection.seeds, selection.trials))
    return replace(chosen, missing=found[-1].missing)


def _selection(study: Study, records: dict, budget: Budget, plan: dict[str, list[Trial]], n: int, missing: list[Trial]) -> Selection:
    best = {arm: _best(trials[:n], records) for arm, trials in plan.items()}
    again = {arm: seed_trials(study, trial, budget.seeds) if trial else [] for arm, trial in best.items()}
    there = {
        arm: {t.index: records[t.key] for t in trials if t.key in records and records[t.key]["status"] == "done"}
        for arm, trials in again.items()
    }
    seeds = sorted(set.intersection(*(set(there[arm]) for arm, trial in best.items() if trial)) if any(best.values()) else [])
    lacking = [] if missing else _lacking((t for trials in zip_longest(*again.values()) for t in trials if t), records)
    winners = {arm: records[trial.key] for arm, trial in best.items() if trial}
    return Selection(study, budget, n, winners, {arm: [made[i] for i in seeds if made] for arm, made in there.items()}, missing + lacking)


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


def study_for(name: str, interactions: Interactions) -> Study:
    """The study of that name. Raises ValueError if there is none, or if it needs an order in time that the data set lacks."""
    study = STUDIES[choose("study", name, STUDIES)]
    if study.family == "sequences" and not interactions.ordered:
        raise ValueError(f"{interactions.name} has no order in time, which the study {name} needs: run factorization instead.")
    return study
