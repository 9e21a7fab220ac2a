"""Which trials make up a study, and running those that the ledger lacks.

A study compares arms. Every arm gets the same number of search trials, drawn in advance from the same ranges; the one with the best
validation MRR wins, and its settings are trained again with fresh seeds. Trial number i of a study is the same on every machine.
"""

import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from scipy.stats import loguniform
from sklearn.model_selection import ParameterSampler

from mixlib import evaluation, models, splits, training
from mixlib.datasets import Interactions
from mixlib.ledger import Ledger, key_of, provenance
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
class Budget:
    """What a study may spend: search trials per arm, seeds per winner, the most epochs, and the ranges to draw from."""

    trials: int
    seeds: int
    epochs: dict[str, int]
    dim: dict[str, int]
    space: dict[str, dict]


PAPER = Budget(20, 5, {"sequences": 100, "factorization": 200}, {"sequences": 64, "factorization": 32},
               {"sequences": SEQUENCE_SPACE, "factorization": FACTORIZATION_SPACE})  # fmt: skip
DEMO = Budget(2, 2, {"sequences": 15, "factorization": 30}, {"sequences": 16, "factorization": 8}, {
    "sequences": SEQUENCE_SPACE | {"batch_size": [32], "learning_rate": loguniform(5e-3, 2e-2), "components": [2, 4]},
    "factorization": FACTORIZATION_SPACE | {"batch_size": [256, 512], "learning_rate": loguniform(5e-3, 2e-2), "components": [2, 4],
                                            "gain": loguniform(0.5, 5)},
})  # fmt: skip
PROFILES = {"paper": PAPER, "demo": DEMO}


@dataclass(frozen=True)
class Arm:
    """One side of a comparison: a kind of model, a loss, and what is given instead of drawn: of the model, the training, the split."""

    kind: str
    loss: str = "adaptive_hinge"
    model: dict = field(default_factory=dict)
    training: dict = field(default_factory=dict)
    split: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """Arms by label, all of one family: `sequences` or `factorization`."""

    name: str
    family: str
    arms: dict[str, Arm]


def _kinds(*kinds: str) -> dict[str, Arm]:
    return {kind: Arm(kind) for kind in kinds}


def _losses(*kinds: str) -> dict[str, Arm]:
    return {f"{kind}/{loss}": Arm(kind, loss) for kind in kinds for loss in training.LOSSES}


def _components(kind: str) -> dict[str, Arm]:
    return {f"{kind}/{m}": Arm(kind, model={"components": m}) for m in (1, 2, 4, 8)}


STUDIES = {
    study.name: study
    for study in (
        Study("sequences", "sequences", _kinds("lstm", "mixture_lstm")),
        Study("factorization", "factorization", _kinds("factorization", "projection_mixture", "embedding_mixture")),
        Study("sequence-losses", "sequences", _losses("lstm", "mixture_lstm")),
        Study("factorization-losses", "factorization", _losses("factorization", "embedding_mixture")),
        Study("sequence-components", "sequences", _components("mixture_lstm")),
        Study("factorization-components", "factorization", _components("embedding_mixture")),
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
    def of_records(cls, records: dict[str, dict]) -> "Subject | None":
        """The subject that all records of a study are about; None without records. Raises ValueError when they are about several."""
        found = {
            (d["dataset"], d["fingerprint"], *(d["split"].get(name, 0) for name in ("max_length", "min_length")))
            for d in (record["definition"] for record in records.values())
        }
        if len(found) > 1:
            versions = ", ".join(sorted(f"{name} {fingerprint}" for name, fingerprint, *_ in found))
            raise ValueError(f"records of several versions of a data set lie together ({versions}): move one version away.")
        return cls(*found.pop()) if found else None


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
    """The search of every arm: trial i draws from a generator seeded by the study's name and i, the same for all arms."""
    space = budget.space[study.family]
    plan: dict[str, list[Trial]] = {label: [] for label in study.arms}
    for i in range(budget.trials):
        seed = int.from_bytes(sha256(f"{study.name}/{i}".encode()).digest()[:4], "big")
        drawn = next(iter(ParameterSampler(space, 1, random_state=seed)))
        for label, arm in study.arms.items():
            model = {"kind": arm.kind, "dim": budget.dim[study.family]}
            if "mixture" in arm.kind:
                model["components"] = int(drawn["components"])
            if arm.kind == "projection_mixture":
                model["gain"] = float(drawn["gain"])
            settings = training.Settings(
                loss=arm.loss, batch_size=int(drawn["batch_size"]), learning_rate=float(drawn["learning_rate"]), l2=float(drawn["l2"]),
                epochs=budget.epochs[study.family], **PATIENCE[study.family], **arm.training,
            )  # fmt: skip
            plan[label].append(
                Trial(study.name, label, "search", i, define(study.family, subject, model | arm.model, settings, **arm.split))
            )
    return plan


def define(family: str, subject: Subject, model: dict, settings: training.Settings, **split) -> dict:
    """The definition of a trial: data, split (seed and fractions may be given), model, training, seed."""
    split = {"fractions": [0.8, 0.1, 0.1], "seed": 0} | split
    if family == "sequences":
        split |= {"max_length": subject.max_length, "min_length": subject.min_length}
    return {"protocol": PROTOCOL, "dataset": subject.dataset, "fingerprint": subject.fingerprint, "family": family, "split": split,
            "model": model, "training": asdict(settings)}  # fmt: skip


def seed_trials(winner: Trial, seeds: int) -> list[Trial]:
    """The winner's settings with the seeds 1, 2, ...; the search itself used seed 0."""
    return [
        replace(
            winner, stage="seeds", index=seed, definition=winner.definition | {"training": winner.definition["training"] | {"seed": seed}}
        )
        for seed in range(1, seeds + 1)
    ]


@dataclass(frozen=True)
class Selection:
    """What the records of a study say: n search trials of every arm, the winners among them, and the winners' retrained records."""

    study: Study
    planned: Budget
    trials: int
    winners: dict[str, dict]
    finalists: dict[str, list[dict]]
    missing: list[Trial]

    @property
    def complete(self) -> bool:
        """Whether every arm has a winner with at least one retrained record."""
        return bool(self.finalists) and all(self.finalists.values())


def select(study: Study, records: dict[str, dict], subject: Subject, budget: Budget) -> Selection:
    """Choose every arm's winner by validation MRR, each arm among the same first n trials, and say what is missing of the plan.

    n is the one for which the most seeds of all winners are there, and among those the largest. Every arm gets the same seeds.
    """
    plan = search_trials(study, subject, budget)
    missing = [trial for trials in zip(*plan.values(), strict=True) for trial in trials if trial.key not in records]
    done = min(next((i for i, t in enumerate(trials) if t.key not in records), budget.trials) for trials in plan.values())
    found = [_selection(study, records, budget, plan, n, missing) for n in range(1, done + 1)]
    if not found:
        return Selection(study, budget, 0, {}, {}, missing)
    chosen = max(found, key=lambda selection: (min(map(len, selection.finalists.values()), default=0), selection.trials))
    return replace(chosen, missing=found[-1].missing)


def _selection(study: Study, records: dict, budget: Budget, plan: dict[str, list[Trial]], n: int, missing: list[Trial]) -> Selection:
    best = {arm: _best(trials[:n], records) for arm, trials in plan.items()}
    again = {arm: seed_trials(trial, budget.seeds) if trial else [] for arm, trial in best.items()}
    there = {
        arm: {t.index: records[t.key] for t in trials if t.key in records and records[t.key]["status"] == "done"}
        for arm, trials in again.items()
    }
    seeds = sorted(set.intersection(*(set(finalists) for finalists in there.values())))
    lacking = [] if missing else [t for trials in zip_longest(*again.values()) for t in trials if t and t.key not in records]
    winners = {arm: records[trial.key] for arm, trial in best.items() if trial}
    return Selection(study, budget, n, winners, {arm: [finalists[i] for i in seeds] for arm, finalists in there.items()}, missing + lacking)


def _best(trials: list[Trial], records: dict[str, dict]) -> Trial | None:
    done = [trial for trial in trials if records[trial.key]["status"] == "done"]
    return max(done, key=lambda trial: records[trial.key]["validation"]["mrr"], default=None)


@lru_cache(maxsize=4)
def _split(interactions: Interactions, family: str, **split) -> splits.Split:
    fractions = tuple(split.pop("fractions"))
    make = splits.random_split if family == "factorization" else splits.sequence_split
    return make(interactions, fractions=fractions, **split)


def train(definition: dict, interactions: Interactions, device: str = "cpu") -> tuple[models.TasteModel, splits.Split, training.History]:
    """Build and fit the model that a definition describes. Raises what `fit` raises, and ValueError when the data changed."""
    found, wanted = interactions.fingerprint, definition["fingerprint"]
    if found != wanted:
        raise ValueError(f"{definition['dataset']} has changed: its fingerprint is {found}, not {wanted}.")
    part = {name: tuple(value) if isinstance(value, list) else value for name, value in definition["split"].items()}
    split = _split(interactions, definition["family"], **part)
    settings = training.Settings(**definition["training"])
    torch.manual_seed(settings.seed)
    model = models.build(n_items=interactions.n_items, n_users=interactions.n_users, **definition["model"]).to(device)
    return model, split, training.fit(model, split, settings)


def run_trial(trial: Trial, interactions: Interactions, device: str = "cpu") -> tuple[dict, dict[str, np.ndarray]]:
    """Train and evaluate: the trial's record, and the per-user (or per-window) reciprocal ranks on test with their users.

    A trial whose loss explodes gives a record too, with the status `failed`: it has used its place in the search.
    """
    record = {"key": trial.key, "dataset": interactions.name, "study": trial.study, "arm": trial.arm, "stage": trial.stage,
              "index": trial.index, "definition": trial.definition, "device": _device_name(device)} | provenance()  # fmt: skip
    _reset_peak_memory()
    start = time.perf_counter()
    try:
        model, split, history = train(trial.definition, interactions, device)
    except training.Diverged as error:
        return record | {"status": "failed", "error": str(error)}, {}
    fitted = time.perf_counter()
    values, users, metrics = evaluate(model, split)
    return record | {
        "status": "done",
        "validation": {"mrr": history.best},
        "test": metrics,
        "best_epoch": history.best_epoch,
        "losses": history.losses,
        "validation_mrr": {str(epoch): mrr for epoch, mrr in history.validation.items()},
        "parameters": sum(p.numel() for p in model.parameters()),
        "seconds": {"fit": round(fitted - start, 2), "test": round(time.perf_counter() - fitted, 2)},
        "peak_memory_bytes": _peak_memory(device),
    }, {"reciprocal_ranks": values.astype(np.float32), "users": users.astype(np.int32)}


def evaluate(model: models.TasteModel, split: splits.Split) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Reciprocal ranks on test, whose they are, and the means of all metrics: one value per window, or one per user with test items."""
    if isinstance(split.test, splits.Sequences):
        ranks, users = evaluation.sequence_ranks(model, split.test)[:, None], split.test.users
        metrics = evaluation.user_metrics(ranks)
        means = {"mrr": metrics["mrr"].mean(), "mrr_over_users": evaluation.by_user(metrics["mrr"], users).mean()}
    else:
        found = evaluation.interaction_ranks(model, split)
        users, metrics = found.users, evaluation.user_metrics(found.ranks)
        means = {"mrr": metrics["mrr"].mean(), "first_hit_mrr": metrics["first_hit_mrr"].mean()}
    means |= {name: metrics[name].mean() for name in ("recall_at_10", "ndcg_at_10")}
    return metrics["mrr"], users, {name: float(value) for name, value in means.items()}


def study_for(name: str, interactions: Interactions) -> Study:
    """The study of that name. Raises ValueError if there is none, or if it needs an order in time that the data set lacks."""
    study = STUDIES[choose("study", name, STUDIES)]
    if study.family == "sequences" and not interactions.ordered:
        raise ValueError(f"{interactions.name} has no order in time, which the study {name} needs: run factorization instead.")
    return study


def run(
    name: str, interactions: Interactions, ledger: Ledger, budget: Budget = PAPER, minutes: float = math.inf, jobs: int = 1,
    device: str = "cpu", report: Callable[[dict], None] = lambda record: None,
) -> Selection:  # fmt: skip
    """Run what the ledger lacks of a study, the search first, then the winners' seeds, and give what the records then say.

    minutes: no trial starts later than that. jobs: processes, each on its share of the cores. report: called with every new record.
    Raises RuntimeError when a worker dies (out of memory, killed); what was finished stays in the ledger.
    """
    study, subject = study_for(name, interactions), Subject.of(interactions)
    deadline = time.monotonic() + 60 * minutes
    while True:
        selection = select(study, ledger.read(subject.dataset, name), subject, budget)
        if not selection.missing or time.monotonic() >= deadline:
            return selection
        todo = (trial for trial in selection.missing if time.monotonic() < deadline)
        made = _in_processes(todo, interactions, ledger, jobs, device) if jobs > 1 else _here(todo, interactions, ledger, device)
        for record in made:
            report(record)


def compute(name: str, interactions: Interactions, budget: Budget = DEMO) -> tuple[Selection, dict[str, dict[str, np.ndarray]]]:
    """Run a whole study in this process and in memory: what its records say, and their arrays by key. Nothing is written."""
    study, subject = study_for(name, interactions), Subject.of(interactions)
    records: dict[str, dict] = {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    while (selection := select(study, records, subject, budget)).missing:
        for trial in selection.missing:
            records[trial.key], arrays[trial.key] = run_trial(trial, interactions)
    return selection, arrays


def _here(trials: Iterable[Trial], interactions: Interactions, ledger: Ledger, device: str) -> Iterator[dict]:
    for trial in trials:
        record, arrays = run_trial(trial, interactions, device)
        ledger.write(record, arrays if trial.stage == "seeds" else None)
        yield record


def _in_processes(trials: Iterator[Trial], interactions: Interactions, ledger: Ledger, jobs: int, device: str) -> Iterator[dict]:
    """As `_here`, in `jobs` processes, each with its share of the cores and its own copy of the data."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    spawn = multiprocessing.get_context("spawn")  # CUDA and torch's threads do not survive a fork
    pool = ProcessPoolExecutor(jobs, spawn, _start_worker, (threads, interactions, ledger.root, device))
    running: set[Future] = set()
    try:
        while True:
            running |= {pool.submit(_work, trial) for _, trial in zip(range(jobs - len(running)), trials, strict=False)}
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BrokenProcessPool:
        raise RuntimeError("a worker process died, perhaps for lack of memory: finished trials are kept; try fewer --jobs.") from None
    finally:
        if running:  # stopped or broken: do not wait for trials in hand
            for child in multiprocessing.active_children():
                child.terminate()
        pool.shutdown(cancel_futures=True)


_worker: dict = {}


def _start_worker(threads: int, interactions: Interactions, root: Path, device: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it, and ends its workers
    torch.set_num_threads(threads)
    _worker.update(interactions=interactions, ledger=Ledger(root), device=device)


def _work(trial: Trial) -> dict:
    return next(_here([trial], **_worker))


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"


def _reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # not Linux, or not allowed: the peak is then that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory(device: str) -> int | None:
    """Peak memory since the last reset, in bytes: of the card, or resident of this process; None where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
