"""Running what the ledger lacks of a study: here, in several processes, or in memory."""

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from threadpoolctl import threadpool_limits

from mixlib import codes, diagnostics, evaluation, kernels, models, references, splits, training
from mixlib.checkpoints import Checkpoint
from mixlib.datasets import Interactions
from mixlib.files import renamed
from mixlib.ledger import Ledger, key_of, provenance
from mixlib.plans import Selection, Subject, Trial, records_of, select
from mixlib.studies import DEMO, PAPER, Budget, study_for
from mixlib.workers import cores, in_processes

Made = Generator[tuple[dict, dict[str, np.ndarray]], None, None]  # records and their arrays, as they are finished


@lru_cache(maxsize=4)
def _split(interactions: Interactions, family: str, **split) -> splits.Split:
    make = splits.random_split if family == "factorization" else splits.sequence_split
    return make(interactions, **split)


def split_of(definition: dict, interactions: Interactions) -> splits.Split:
    """The split that a definition describes."""
    part = {name: tuple(value) if isinstance(value, list) else value for name, value in definition["split"].items()}
    return _split(interactions, definition["family"], **part)


def train(
    definition: dict, interactions: Interactions, device: str = "cpu", checkpoint: Checkpoint | None = None
) -> tuple[models.TasteModel, splits.Split, training.History]:
    """Build and fit the model that a definition describes; checkpoint: as for `fit`.

    Raises what `fit` raises, and ValueError when the data changed.
    """
    _check_data(definition, interactions)
    split = split_of(definition, interactions)
    settings = training.Settings(**definition["training"])
    torch.manual_seed(settings.seed)
    model = models.build(n_items=interactions.n_items, n_users=interactions.n_users, **definition["model"]).to(device)
    return model, split, training.fit(model, split, settings, checkpoint)


def refer(definition: dict, interactions: Interactions) -> tuple[references.Reference, splits.Split, training.History]:
    """Fit the reference that a definition describes, on the CPU. Raises what `references.fit` raises, and ValueError as `train`."""
    _check_data(definition, interactions)
    split = split_of(definition, interactions)
    model = references.fit(split, seed=definition["training"]["seed"], **definition["model"])
    return model, split, training.History(validation={0: training.validation_mrr(model, split)})


def _check_data(definition: dict, interactions: Interactions) -> None:
    found, wanted = interactions.fingerprint, definition["fingerprint"]
    if interactions.name != definition["dataset"]:
        raise ValueError(f"these are the interactions of {interactions.name}, not of {definition['dataset']}: load those.")
    if found != wanted:
        raise ValueError(f"{definition['dataset']} has changed: its fingerprint is {found}, not {wanted}.")


def trained(record: dict, interactions: Interactions, ledger: Ledger | None = None) -> tuple[models.TasteModel, splits.Split]:
    """The model of a record, and its split: from weights beside the record (never committed), else trained again and kept there."""
    definition = record["definition"]
    _check_data(definition, interactions)
    path = None
    if ledger:  # the same trial trained again has another name
        path = ledger.folder(record["dataset"], record["study"]) / f"{record['key']}.{key_of(record)}.safetensors"
    if path and path.is_file():
        model = models.build(n_items=interactions.n_items, n_users=interactions.n_users, **definition["model"])
        if _has_read(model, path):
            return model, split_of(definition, interactions)
    model, split, _ = train(definition, interactions)
    if path:
        with suppress(OSError, SafetensorError), renamed(path) as partial:  # a ledger that cannot be written to is left as it is
            save_model(model, str(partial))
    return model, split


def _has_read(model: models.TasteModel, path: Path) -> bool:
    """Give a model the weights of a file, and say whether they could be read."""
    try:
        load_model(model, path)
    except (SafetensorError, RuntimeError):  # damaged, or of other sizes
        return False
    return True


def run_trial(
    trial: Trial, interactions: Interactions, device: str = "cpu", ledger: Ledger | None = None
) -> tuple[dict, dict[str, np.ndarray]]:
    """Train and evaluate: the trial's record, and the per-user (or per-window) reciprocal ranks on test with their users.

    ledger: where the state of the training is kept meanwhile. One that finds its state there, made by the same code on the same kind
    of machine, goes on from it.
    A winner's record also holds what `diagnose` finds. A trial whose loss explodes, or whose method cannot hold the
    data, gives a record too, with the status `failed`: it has used its place in the search.
    """
    refers = trial.definition["model"]["kind"] in references.KINDS
    if refers:  # references stay on the CPU
        device = "cpu"
    record = {"key": trial.key, "dataset": interactions.name, "study": trial.study, "arm": trial.arm, "stage": trial.stage,
              "index": trial.index, "definition": trial.definition, "device": _device_name(device),
              "compiler": kernels.has_compiler()} | provenance()  # fmt: skip
    checkpoint = Checkpoint(ledger.state(interactions.name, trial.study, trial.key, key_of(record))) if ledger else None
    if interactions.hashes:  # sha256 of the files it was read from
        record["data"] = interactions.hashes
    reset_peak_memory(device)
    start = time.perf_counter()
    try:
        model: models.TasteModel | references.Reference
        if refers:
            model, split, history = refer(trial.definition, interactions)
        else:
            model, split, history = train(trial.definition, interactions, device, checkpoint)
    except (training.Diverged, references.TooLarge) as error:
        return record | {"status": "failed", "error": str(error)}, {}
    fitted = time.perf_counter()
    values, users, metrics = evaluate(model, split)
    arrays = {"reciprocal_ranks": values.astype(np.float32), "users": users.astype(np.int32)}
    tested = time.perf_counter()
    if trial.stage == "seeds" and isinstance(model, models.TasteModel):
        found, more = diagnose(model, split)
        record, arrays = record | found, arrays | more
    return record | {
        "status": "done",
        "validation": {"mrr": history.best},
        "test": metrics,
        "best_epoch": history.best_epoch,
        "losses": history.losses,
        "validation_mrr": {str(epoch): mrr for epoch, mrr in history.validation.items()},
        "parameters": sum(p.numel() for p in model.parameters()) if isinstance(model, models.TasteModel) else model.parameters,
        "seconds": {"fit": round(fitted - start + history.seconds, 2), "test": round(tested - fitted, 2)}
        | ({"diagnosis": round(time.perf_counter() - tested, 2)} if trial.stage == "seeds" else {}),
        "peak_memory_bytes": peak_memory(device),
    }, arrays


def diagnose(model: models.TasteModel, split: splits.Split) -> tuple[dict, dict[str, np.ndarray]]:
    """What a winner's record holds beyond its metrics, with arrays beside them in the order of the test users or windows.

    `binary`: test metrics of the model's binary codes, and the bytes of both representations. `tastes`, of a mixture: the means of
    `diagnostics.tastes`.
    """
    ranks, _, metrics = evaluate(codes.Binary(model), split)
    found: dict = {"binary": metrics | {"bytes": codes.sizes(model)}}
    arrays = {"binary_reciprocal_ranks": ranks.astype(np.float32)}
    if model.components > 1:
        tastes = diagnostics.tastes(model, split)
        found["tastes"] = diagnostics.summary(tastes, model.components)
        arrays["effective_tastes"] = tastes["effective_tastes"].astype(np.float32)
    return found, arrays


def evaluate(model: evaluation.Scorer, split: splits.Split) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
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


def run(
    name: str, interactions: Interactions, ledger: Ledger, budget: Budget | None = None, minutes: float = math.inf, jobs: int = 1,
    device: str = "cpu", *, shard: tuple[int, int] = (1, 1), elsewhere: Callable[[Iterator[Trial]], Made] | None = None,
    arms: Iterable[str] = (), begin: Callable[[list[Trial]], None] = lambda trials: None,
    report: Callable[[dict], None] = lambda record: None,
) -> Selection:  # fmt: skip
    """Run what the ledger lacks of a study, the search first, then the winners' seeds, and give what the records then say.

    budget: what is planned if none is given. minutes: no trial starts later than that. jobs: processes, each on its share of the
    cores. device: as torch calls it, of all models; references stay on the CPU.
    shard: (i, n) for the share i of n, counted from 1; seeds start once the searches of all shares are there. elsewhere: finishes trials
    in place of this machine, as `cluster.on_cluster` does. arms: only these. begin: called with the trials of a search, or of the seeds,
    before the first of them. report: called with every new record. What another process finishes meanwhile is not made again.
    Raises ValueError on an unknown study or arm and on data that cannot be split, RuntimeError when a worker dies (out of memory,
    killed) or has other code, as where files change while a study runs, OSError when the ledger cannot be written to; what was finished
    stays in the ledger.
    """
    study, subject, code = study_for(name, interactions).only(arms), Subject.of(interactions), provenance()["code"]
    budget = budget or PAPER.of(study)
    if math.isnan(minutes):
        raise ValueError("minutes must be a number: no trial starts later than that.")
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard must be (i, n) with i from 1 to n, not {shard}.")
    deadline = time.monotonic() + 60 * minutes
    while True:
        selection = select(study, records_of(study, ledger, subject.dataset), subject, budget)
        own = selection.share(*shard)
        if not own or time.monotonic() >= deadline:
            return selection
        split_of(own[0].definition, interactions)  # too few interactions are said before anything begins
        for where in sorted({trial.study for trial in own}):
            ledger.prepare(subject.dataset, where)
        begin(own)
        todo = (trial for trial in own if time.monotonic() < deadline and not ledger.holds(subject.dataset, trial.study, trial.key))
        made = elsewhere(todo) if elsewhere else _made_here(todo, interactions, jobs, device, ledger)
        with closing(made):  # an error while writing must end the workers, too
            for record, arrays in made:
                if record["code"] != code:  # it would not count here, and be made for ever
                    raise RuntimeError(
                        f"the workers run other code ({record['code']}) than this ({code}): install the same, or start again."
                    )
                ledger.write(record, arrays)
                report(record)


def compute(
    name: str, interactions: Interactions, budget: Budget = DEMO, arms: Iterable[str] = ()
) -> tuple[Selection, dict[str, dict[str, np.ndarray]]]:
    """Run a whole study, or these arms of it, in this process and in memory: what its records say, and their arrays by key.

    Nothing is written.
    """
    study, subject = study_for(name, interactions).only(arms), Subject.of(interactions)
    records: dict[str, dict] = {}
    arrays: dict[str, dict[str, np.ndarray]] = {}
    while (selection := select(study, records, subject, budget)).missing:
        for trial in selection.missing:
            records[trial.key], arrays[trial.key] = run_trial(trial, interactions)
    return selection, arrays


def finish(trial: Trial, interactions: Interactions, device: str, ledger: Ledger | None = None) -> tuple[dict, dict[str, np.ndarray]]:
    """What the ledger keeps of a trial: its record, and its arrays if it is a finalist. ledger: as for `run_trial`."""
    record, arrays = run_trial(trial, interactions, device, ledger)
    return record, arrays if trial.stage == "seeds" else {}


def _made_here(trials: Iterator[Trial], interactions: Interactions, jobs: int, device: str, ledger: Ledger) -> Made:
    if jobs > 1:
        return _in_processes(trials, interactions, jobs, device, ledger)
    return (finish(trial, interactions, device, ledger) for trial in trials)


def _in_processes(trials: Iterator[Trial], interactions: Interactions, jobs: int, device: str, ledger: Ledger) -> Made:
    """As `finish`, in `jobs` processes, each with its share of the cores and its own copy of the data; only this one writes records."""
    threads = max(1, cores() // jobs)
    made = in_processes(_work, trials, jobs, _start_worker, threads, interactions, device, ledger)
    try:
        with closing(made):
            yield from made
    except BrokenProcessPool:
        raise RuntimeError("a worker process died, perhaps for lack of memory: finished trials are kept; try fewer --jobs.") from None


_worker: dict = {}


def _start_worker(threads: int, interactions: Interactions, device: str, ledger: Ledger) -> None:
    set_threads(threads)
    _worker.update(interactions=interactions, device=device, ledger=ledger)


def set_threads(threads: int) -> None:
    """How many threads torch and the libraries beneath numpy and scipy take in this process."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)


def _work(trial: Trial) -> tuple[dict, dict[str, np.ndarray]]:
    return finish(trial, **_worker)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else f"cpu, {torch.get_num_threads()} threads"


def reset_peak_memory(device: str = "cpu") -> None:
    """Forget the peak of memory so far, on this machine and on the card, if the device is one."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # not Linux, or not allowed: the peak is then that of the process so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory(device: str) -> int | None:
    """Peak memory since the last reset, in bytes: of the card, or resident of this process; None where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None
