"""The command line: `mixlib fetch / run / status / book`. Errors are one line. Exit codes: 1 an error, 2 wrong usage, 128 + signal."""

import signal
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from mixlib.plans import Selection, Trial
    from mixlib.studies import Budget

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
Name = Annotated[str, typer.Option(help="a registered name, a folder of the data root, or the path of an interactions.csv[.gz]")]


heard: list[int] = []  # signals that ask to stop; numpy, when it is imported, swallows what is raised for them
FEW_USERS = 30  # users of the test part: below, intervals over users say little


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"mixlib {version('mixlib')}")
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="say which version this is")] = False,
) -> None:
    """Mixtures of tastes: data, studies and the book."""


@app.command()
def fetch(
    name: str,
    file: Annotated[str | None, typer.Option("--from", help="the published file, if you have it: nothing is downloaded")] = None,
) -> None:
    """Download, verify and prepare a data set.

    It goes into the data root: $MIXLIB_DATA, else the user's cache folder.
    """
    from mixlib import datasets

    _unless_stopped()
    folder = datasets.fetch(name, file=file)
    found = datasets.load(name)
    _note(found.notes)
    print(f"{found.title}: {len(found):,} interactions, {found.n_users:,} users, {found.n_items:,} items")
    print(f"licence: {found.licence}")
    print(folder)


@app.command()
def run(
    dataset: Name,
    study: Annotated[str, typer.Option(help="sequences, factorization, sequence-losses, ...")],
    arm: Annotated[list[str] | None, typer.Option(help="only this arm of the study; may be given several times")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="search trials for each arm (planned: see `mixlib status`)")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="fresh seeds for each winner (planned: see `mixlib status`)")] = None,
    minutes: Annotated[float, typer.Option(min=0, help="start no trial after that")] = float("inf"),
    jobs: Annotated[int, typer.Option(min=1, help="processes, each on its share of the cores")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda")] = "auto",
    shard: Annotated[str, typer.Option(help="i/n: only the share i of n, for job arrays")] = "1/1",
    cluster: Annotated[str | None, typer.Option(help="address of a dask scheduler: run the trials on its workers")] = None,
    results: Annotated[str, typer.Option(help="folder of the ledger")] = "results",
) -> None:
    """Run what the ledger lacks of a study; stop and start it at will."""
    from dataclasses import replace
    from functools import partial

    from mixlib import datasets, describe, experiments, labels, outcomes, reports, studies
    from mixlib.ledger import Ledger, code_version
    from mixlib.names import absolute
    from mixlib.plans import Subject
    from mixlib.sources import SOURCES

    _unless_stopped()
    ledger = Ledger(results)
    if cluster == "":
        raise ValueError("--cluster is empty: give the address of a dask scheduler, or leave the option out.")
    if cluster and jobs > 1:
        raise ValueError("--jobs is for this machine: a cluster has as many processes as it has workers.")
    i, n = _share(shard)
    device = _device(device, here=not cluster)
    dataset = absolute(dataset)
    interactions = datasets.load(dataset)
    _note(interactions.notes)
    if dataset.endswith((".csv", ".csv.gz")):
        _note((f"the data set is named {interactions.name}, after the folder of the file.",))
    chosen = studies.study_for(study, interactions)
    if not chosen.planned_for(interactions.name):
        _note((f"{study} is planned for {' and '.join(chosen.only_for)} alone: on {interactions.name} it is an extra.",))
    chosen.only(arm or ())  # an arm that is none is said before anything is renamed
    where = datasets.root_folder() / dataset
    own = any((where / name).is_file() for name in ("interactions.csv", "interactions.csv.gz"))
    if dataset in SOURCES and not own and (beside := where / "dataset.toml").is_file():
        _note((f"{beside} is not read: {dataset} is a published data set, whose title and windows are known.",))
    _note(describe.unfit(interactions, chosen.family))
    planned = studies.PAPER.of(chosen)
    budget = replace(planned, trials=trials or planned.trials, seeds=seeds or planned.seeds)
    if budget.trials > planned.trials or budget.seeds > planned.seeds:
        _note((f"planned are {planned.trials} trials and {planned.seeds} seeds: tables and `mixlib status` count no more than these.",))
    folders = list(filter(None, (study, chosen.other)))
    for line in (line for where in folders for line in ledger.set_aside(interactions.name, where)):
        print(line, flush=True)
    records = [one for where in folders for one in ledger.read(interactions.name, where).values()]
    subject = Subject.of(interactions)
    about = [Subject.of_record(one) for one in records]
    ours = [record for record, one in zip(records, about, strict=True) if subject.agrees(one)]
    if others := sum(one.fingerprint != subject.fingerprint for one in about):
        _note((f"{others} of the records here are of other data than these, fingerprint {subject.fingerprint}: they do not count.",))
    if others := len(records) - len(ours) - others:
        _note((f"{others} of the records here are of other windows than {subject.min_length} to {subject.max_length}: they do not count.",))
    if older := sum(one.get("code") != code_version() for one in ours):
        _note((f"{older} of the records here are of earlier versions of mixlib, among those that versions.toml names: they are used.",))
    elsewhere = None
    if cluster:
        from mixlib.cluster import on_cluster

        elsewhere = partial(on_cluster, address=cluster, interactions=interactions, device=device, say=lambda line: _note((line,)))
    progress = _Progress(None if ledger.root.exists() else ledger.root.resolve(), cluster)
    selection = experiments.run(
        study, interactions, ledger, budget, minutes, jobs, device, shard=(i, n), elsewhere=elsewhere, arms=arm or (),
        begin=progress.begin, report=progress.record,
    )  # fmt: skip
    if not selection.missing:
        reached = outcomes.study(study, interactions, ledger=ledger, arms=arm or (), trials=budget.trials, seeds=budget.seeds)
        for name, one in reached.outcomes.items():
            progress.say(f"{labels.label(name)}: test MRR {labels.with_interval(one.mrr, one.bounds)}")
        _note(tuple(reports.short_verdicts(reached)))
        if late := sum(one.late for one in reached.outcomes.values()):
            were = "were" if late > 1 else "was"
            _note((f"{late} of the winners' trainings {were} best near the last epoch allowed: with more epochs they may end higher.",))
        if (users := min((len(set(one.users.tolist())) for one in reached.outcomes.values()), default=FEW_USERS)) < FEW_USERS:
            _note((f"{users} user{'s' * (users > 1)} in the test part: intervals over so few say little.",))
    progress.say(f"{interactions.name}, {study}: {_end(selection, planned, i, n)}")


def _unless_stopped() -> None:
    """Stop if that was asked for while modules were imported."""
    if heard:
        raise KeyboardInterrupt


def _share(shard: str) -> tuple[int, int]:
    """The i and n of `i/n`."""
    import re

    share = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", shard)
    if not share or int(share[1]) > int(share[2]):
        raise ValueError(f"--shard must be i/n with i from 1 to n, such as 1/8, not {shard!r}.")
    return int(share[1]), int(share[2])


def _device(wanted: str, here: bool) -> str:
    """What torch calls the device; here: it must be one of this machine, where auto takes a card if there is one."""
    from mixlib.names import choose

    choose("device", wanted, ("auto", "cpu", "cuda"))
    if wanted == "cpu" or not here:
        return "cpu" if wanted == "auto" else wanted
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device here: use --device cpu or auto.")
    return "cuda" if torch.cuda.is_available() else "cpu"


def _trials(number: int) -> str:
    return f"{number} trial{'s' * (number != 1)}"


def _end(selection: "Selection", planned: "Budget", i: int, n: int) -> str:
    """The last line of a run of the share i of n: what is complete, what failed, or what is missing."""
    if own := len(selection.share(i, n)):
        which = f"{_trials(own)} of share {i}/{n}" if n > 1 else _trials(own)
        return f"{which} {'are' if own > 1 else 'is'} still missing; the same command goes on."
    if selection.missing:
        stage = selection.missing[0].stage
        then = "the same command then runs the seeds" if stage == "search" else "then the study is complete"
        return f"share {i}/{n} is done. Other shares lack {_trials(len(selection.missing))} of the {stage}; {then}."
    failed = [name for name in selection.finalists if name not in selection.winners]
    whose = "their" if len(failed) > 1 else "its"
    end = f"complete, but nothing came of {', '.join(failed)}: {whose} trials failed." if failed else "complete."
    if lost := selection.tried - selection.seeds:
        end += f" With {lost} of {selection.tried} seeds the training of some winner failed: they count for no model."
    asked, every = selection.planned, (("search trials", "trials"), ("seeds", "seeds"))
    fewer = [f"{some} of {most} planned {what}" for what, key in every if (some := getattr(asked, key)) < (most := getattr(planned, key))]
    return end + (f" Asked for were {' and '.join(fewer)}." if fewer else "")


def _note(notes: tuple[str, ...]) -> None:
    for note in notes:
        with suppress(OSError):  # a log that is full, perhaps
            print(f"mixlib: {note}", file=sys.stderr)


class _Progress:
    """What a study prints while it runs: a line before a search or the seeds begin, and one for each record."""

    def __init__(self, new: "Path | None", cluster: str | None = None):
        """new: the folder of a ledger that is not there yet. cluster: where the trials run, if not here."""
        self.new, self.cluster, self.made, self.of, self.since, self.heard = new, cluster, 0, 0, time.monotonic(), True

    def say(self, line: str) -> None:
        """Print a line; nobody who stops listening, and no full disk behind a log, ends a study."""
        if self.heard:
            try:
                print(line, flush=True)
            except OSError as error:
                self.heard = False
                _note((f"progress cannot be printed ({error.strerror or error}): the study goes on, quietly.",))

    def begin(self, trials: "list[Trial]") -> None:
        if self.new:
            _note((f"a new ledger begins in {self.new}.",))
        self.new, self.made, self.of, self.since = None, 0, len(trials), time.monotonic()
        self.say(f"{trials[0].stage}: {_trials(self.of)} to run")
        if self.cluster:
            _note((f"asking {self.cluster} for workers; an answer may take a minute.",))

    def record(self, record: dict) -> None:
        self.made += 1
        what = f"{self.made} of {self.of}: {record['arm']}, {record['stage']} {record['index']}"
        if record["status"] == "done":
            reached = f"validation MRR {record['validation']['mrr']:.4f}, epoch {record['best_epoch']}, {record['seconds']['fit']} s"
            self.say(f"{what}: {reached}{self._left()}")
        else:
            self.say(f"{what}: failed, {record['error']}{self._left()}")

    def _left(self) -> str:
        """`; about 12 min left`, if the others take as long as those before."""
        minutes = (time.monotonic() - self.since) / self.made * (self.of - self.made) / 60
        return f"; about {minutes:.0f} min left" if minutes >= 1 else ""


@app.command()
def status(
    dataset: Annotated[list[str] | None, typer.Option(help="only these data sets, with what has not begun")] = None,
    results: Annotated[str, typer.Option(help="folder of the ledger")] = "results",
) -> None:
    """What the ledger holds of each study, and what it lacks; of all data sets in short."""
    from mixlib import datasets, outcomes, progress
    from mixlib.labels import TITLES
    from mixlib.ledger import Snapshot
    from mixlib.names import choose

    _unless_stopped()
    ledger = Snapshot(results)
    if not ledger.root.is_dir():
        raise FileNotFoundError(f"there is no folder {results}: run this where the ledger lies, or name its folder with --results.")
    dataset = [_recorded_as(name) for name in dataset or ()]
    for name in (name for name in dataset if not outcomes.apart(name)):
        choose(
            "recorded data set", name, {*(known for known in ledger.datasets() if not outcomes.apart(known)), *TITLES, *datasets.names()}
        )
    table, left_out = progress.status(ledger, dataset)
    if table.empty and dataset and not left_out:
        raise ValueError(f"nothing is recorded of {', '.join(dataset)} yet.")
    print("\n".join([*([] if table.empty else [table.to_string(index=False)]), *left_out]))


def _recorded_as(name: str) -> str:
    """The name that records of a data set have: of a folder that is given by its path, or by that of its interactions.csv, the folder's."""
    import os.path
    from pathlib import Path

    from mixlib.names import absolute

    file, copies, share = absolute(name).partition(":copies=")
    return f"{Path(os.path.normpath(file)).parent.name if file.endswith(('.csv', '.csv.gz')) else file}{copies}{share}"


@app.command()
def book(
    datasets: Annotated[str, typer.Option(help="data sets whose notebooks are run, separated by spaces")] = "synthetic",
    force: Annotated[bool, typer.Option(help="run the notebooks even if nothing changed")] = False,
) -> None:
    """Run the notebooks that changed, and render the book."""
    import re
    import shlex

    from mixlib import publish

    _unless_stopped()
    try:
        names = shlex.split(datasets)  # a path with spaces has quotes of its own
    except ValueError as error:
        raise ValueError(f"--datasets: {str(error).lower()}: quote a path with spaces on both sides.") from None
    if not names:
        raise ValueError("no data set is named: --datasets synthetic runs the notebooks on the generated one.")
    if joined := next((name for name in names if re.fullmatch(r"[\w.-]+(,[\w.-]+)+", name)), None):
        raise ValueError(f'data sets are separated by spaces, not by commas: --datasets "{joined.replace(",", " ")}"')
    print(publish.book(names, force))


def _explained(error: Exception) -> str:
    """What is said of an error; after the name of a data set that nobody knows, where it is looked for, and what lies there instead."""
    from mixlib.names import UnknownName

    if isinstance(error, OSError) and error.errno and error.filename:
        return f"cannot use {error.filename}: {error.strerror}."
    if isinstance(error, ModuleNotFoundError):
        return f'this needs the package {error.name}: pip install --editable ".[book]" in a clone.'
    if not isinstance(error, UnknownName) or error.what not in ("data set", "recorded data set"):
        return str(error)
    from mixlib.datasets import root_folder
    from mixlib.labels import TITLES

    root = root_folder().resolve()
    said = f"{error} Data of your own are looked for in {root / error.name}; set MIXLIB_DATA to look elsewhere."
    if error.name in TITLES:
        said = f"{error.name} is in the book, but cannot be fetched: the page Data sets says what belongs into {root / error.name}."
    if (root / error.name).is_dir():
        said += " The folder is there, but holds no interactions.csv or interactions.csv.gz."
    if own := next(root.glob("interactions.csv*"), None):
        said += f" {own.name} lies in {root} itself: set MIXLIB_DATA to {root.parent}, and name the data set {root.name}."
    return said


def _swallowed(lost: "sys.UnraisableHookArgs") -> None:
    """What a finalizer cannot raise; a stop among it comes again a moment later."""
    if heard and isinstance(lost.exc_value, KeyboardInterrupt):
        threading.Timer(0.1, signal.pthread_kill, (threading.main_thread().ident, heard[-1])).start()
    else:
        sys.__unraisablehook__(lost)


def main() -> None:
    """Run the command line; turn what the reader can mend into one line on standard error."""
    heard.clear()

    def stop(number: int, _: object) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    sys.unraisablehook = _swallowed
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Ctrl-C, and what a batch system and a terminal that closes send: workers end, too
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(getattr(signal, name), stop)
    try:
        app()
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"mixlib: {' '.join(_explained(error).split())}", file=sys.stderr)
        sys.exit(1)
    except MemoryError:
        print("mixlib: there is not enough memory: take smaller data or fewer --jobs; finished trials are kept.", file=sys.stderr)
        sys.exit(1)
    except SystemExit as end:
        if end.code == 130:
            print("mixlib: stopped; what was finished is kept, and the same command goes on from there.", file=sys.stderr)
            end.code = 128 + heard[0] if heard else 130
        raise
