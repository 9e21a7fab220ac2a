"""The book: tables and figures from the ledger beside the executed notebooks, and the pages rendered."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import yaml

from mixlib import datasets, describe, experiments, explorer, figures, gains, labels, outcomes, reports, twins
from mixlib.datasets import Interactions
from mixlib.exhibits import Exhibits
from mixlib.files import abandoned, renamed
from mixlib.ledger import Snapshot, code_version, key_of
from mixlib.names import absolute
from mixlib.notebooks import OVERALL, Project, file_hash, run_notebooks, state_of


def write_tables(project: Project) -> None:
    """Write the tables, figures and sentences of the results pages from the ledger into book/tables and book/figures."""
    shown = Exhibits(Snapshot(project.ledger.root), counts(project))
    for (dataset, study), found in shown.every.items():
        for what in found.left_out:
            print(f"left out of the tables: {dataset}, {study}: {what}", flush=True)
    folder = project.book / "tables"
    folder.mkdir(exist_ok=True)
    for name, table in shown.tables().items():
        with renamed(folder / f"{name}.csv") as partial:
            table.replace(r"(?<=\d) of (?=\d)", "\N{NO-BREAK SPACE}of\N{NO-BREAK SPACE}", regex=True).to_csv(partial, index=False)
    for name, figure in shown.figures().items():
        figures.save(figure, project.book / "figures" / name)
        figures.close(figure)
    for name, sentences in shown.sentences().items():
        with renamed(folder / f"{name}.md") as partial:
            partial.write_text("".join(f"* {said[0].upper()}{said[1:]}\n" for said in sentences or [reports.NOTHING]), encoding="utf-8")
    kept = {path.stem: _extract(path) for path in sorted(folder.glob("explorer/*.json"))}
    extracts = {name: extract for name, extract in kept.items() if _is_winner(shown.every.get((name, "sequences")), extract["record"])}
    with renamed(folder / "explorer.html") as partial:
        partial.write_text(explorer.html(extracts), encoding="utf-8")


def _extract(path: Path) -> dict:
    """What the taste explorer shows of a data set, as it was kept. Raises ValueError on a damaged file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found | {key: found[key] for key in ("of", "record")}
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and build the book where the data lie.") from error


def _read_by_tables(project: Project) -> str:
    """A hash of all that `write_tables` reads: records and their arrays, counts, code, published numbers, own data that have records."""
    files = [path for kind in ("json", "npz") for path in project.ledger.root.rglob(f"*.{kind}")]
    files += [path for kind in ("py", "toml") for path in Path(__file__).parent.glob(f"*.{kind}")]
    own, data = [name for name in project.ledger.datasets() if name not in labels.TITLES and not outcomes.apart(name)], {}
    for name in own:
        with suppress(ValueError, OSError):  # it does not lie here, or cannot be read
            data[name] = state_of(datasets.load(name))
    return _state(files, json.dumps(data))


def _tables(project: Project) -> str:
    """A hash of the tables and figures."""
    return _state([path for folder in ("tables", "figures") for path in (project.book / folder).rglob("*.*") if path.is_file()])


def _read_by_pages(project: Project, toc: dict) -> str:
    """A hash of all that `render` reads: contents, the book's files, the version of Jupyter Book."""
    files = [path for path in project.book.rglob("*") if not {"_build", "__pycache__"}.intersection(path.relative_to(project.book).parts)]
    return _state([path for path in files if path.is_file()], f"{yaml.safe_dump(toc)}{version('jupyter-book')}")


def _pages(project: Project) -> str:
    """A hash of the rendered pages."""
    return _state([path for path in (project.book / "_build" / "html").rglob("*") if path.is_file()])


def _state(files: list[Path], more: str = "") -> str:
    return sha256("".join([*(f"{path} {file_hash(path)}\n" for path in sorted(files)), more]).encode()).hexdigest()


def _unless_done(stamp: Path, force: bool, read: Callable[[], str], made: Callable[[], str], make: Callable[[], object]) -> None:
    """Make what is not made yet, or not from what is there now. The stamp holds the state of what is read, as it was before, so that what
    changes meanwhile is made of the next time, and that of what was made.
    """
    before = read()
    if force or not stamp.is_file() or stamp.read_text() != before + made():
        print(f"making the {stamp.name}", flush=True)
        make()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(before + made())


def counts(project: Project) -> dict[str, dict]:
    """Aggregates of the data sets that were here once, by name; not of those whose records and notebooks were taken out again."""
    return {name: one for name, one in project.ledger.noted("counts").items() if _here(project, project.folder(name))}


def _is_winner(results: outcomes.Results | None, key: str) -> bool:
    """Whether a record is that of the winning Mixture-LSTM."""
    return results is not None and results.selection.winners.get("mixture_lstm", {}).get("key") == key


def _here(project: Project, folder: str) -> bool:
    """Whether a data set still has records or notebooks, by the name of its folder."""
    return (project.ledger.root / folder).is_dir() or (project.book / "runs" / folder).is_dir()


def note_counts(project: Project, interactions: Interactions) -> None:
    """Keep the aggregates of a data set, so that the table of data sets needs no data."""
    counted = describe.counted(interactions)
    project.ledger.note("counts", lambda kept: kept | {interactions.name: counted})


def note_explorer(project: Project, interactions: Interactions) -> None:
    """Keep what the taste explorer shows of a data set with titles: of the winning Mixture-LSTM as it was trained here, if any."""
    path, winner = project.book / "tables" / "explorer" / f"{project.folder(interactions.name)}.json", None
    if interactions.titles is not None and interactions.ordered:
        winner = outcomes.study("sequences", interactions, ledger=project.ledger).selection.winners.get("mixture_lstm")
    if winner is None:
        path.unlink(missing_ok=True)  # titles that were taken out must not stay on the page
        return
    model, _ = experiments.trained(winner, interactions, project.ledger)  # as the notebooks have just done
    weights = sha256(b"".join(values.cpu().numpy().tobytes() for values in model.state_dict().values())).hexdigest()
    made_of = {"record": key_of(winner), "weights": weights, "data": state_of(interactions)}
    of = key_of(made_of | {"code": code_version(("explorer", "models"))})
    if path.is_file() and _extract(path)["of"] == of:
        return
    made = {"of": of, "title": labels.title(interactions.name), "record": winner["key"]} | explorer.extract(model, interactions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with renamed(path) as partial:
        partial.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


def note_twins(project: Project, interactions: Interactions) -> None:
    """Keep what the Mixture-LSTM gains on twins of a data set, if there are records of it; not of generated users, which need no data."""
    if interactions.name.startswith("synthetic") or not interactions.ordered:
        return
    results = outcomes.study("sequences", interactions, ledger=project.ledger)
    if results.mixtures:
        measured = twins.measured(results, interactions)
        project.ledger.note("twins", lambda kept: kept | {interactions.name: measured})


def note_who(project: Project, interactions: Interactions) -> None:
    """Keep who gains of a data set, if there are records of it, and not yet from these by this code."""
    before, code = project.ledger.noted("who").get(interactions.name, {}), code_version(("gains", "outcomes", "labels", "splits"))
    ours = before
    for name in (name for name in outcomes.MAIN if interactions.ordered or name == "factorization"):
        results = outcomes.study(name, interactions, ledger=project.ledger)
        made = {"records": results.marks, "code": code}
        if results.mixtures and not made.items() <= ours.get(name, {}).items():
            ours = ours | {name: made | {"rows": gains.extremes(results, interactions, project.ledger)}}
    if ours != before:
        project.ledger.note("who", lambda kept: kept | {interactions.name: ours})


def _older(project: Project, done: Collection[str]) -> dict[str, str]:
    """Data sets, by their folders, that are not among those done and whose pages belong to something older, and in what respect."""
    others = [path for path in project.executed() if path.parent.name not in {*done, OVERALL}]
    why = {path.parent.name: list[str]() for path in others}
    for path in others:
        why[path.parent.name] += project.stale(path)
    return {name: " and ".join(dict.fromkeys(said)) for name, said in why.items() if said}


def forget(project: Project) -> None:
    """Take out what is kept of data sets whose records and notebooks were removed: aggregates, extracts, rendered pages."""

    def here(kept: dict[str, dict]) -> dict[str, dict]:
        return {dataset: one for dataset, one in kept.items() if _here(project, project.folder(dataset))}

    for name in ("counts", "twins", "who", "speeds"):
        if here(kept := project.ledger.noted(name)) != kept:
            project.ledger.note(name, here)
    for path in (project.book / "tables").glob("explorer/*.json"):
        if not _here(project, path.stem):
            path.unlink()
    places = (
        project.ledger.root,
        project.notebooks,
        *(project.book / name for name in ("tables", "tables/explorer", "figures")),
        *(project.book / "runs").glob("*"),
    )
    for left in (left for place in places for left in abandoned(place, ".*.tmp")):
        left.unlink(missing_ok=True)  # by writers that were killed
    for folder in [path for path in (project.book / "_build").rglob("runs/*") if path.is_dir()]:
        if not (project.book / "runs" / folder.name).is_dir():
            shutil.rmtree(folder)


def render(project: Project, toc: dict) -> None:
    """Build the HTML with warnings as errors, and check that every page of the table of contents exists. A build on top of another that
    fails is done again with all pages: of what moved from one page to another, such as a table, the last may have kept the former place.

    Raises RuntimeError with the warnings of the build when it fails.
    """
    if not version("jupyter-book").startswith("1."):
        raise RuntimeError(f"jupyter-book {version('jupyter-book')} cannot build this book: install jupyter-book>=1.0.4.post1,<2.")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "-W", "--keep-going", str(project.book)]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "_toc.yml"
        own.write_text(yaml.safe_dump(toc, sort_keys=False))
        for pages in ([], ["--all"]) if (project.book / "_build" / ".doctrees").exists() else ([],):
            built = subprocess.run(
                [*command, "--toc", str(own), *pages], capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False
            )
            if not built.returncode:
                break
    html = project.book / "_build" / "html"
    gone = [page for page in (f"{page}.html" for page in pages_of(toc)) if not (html / page).is_file()]
    if built.returncode or gone:
        log = re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr).splitlines()
        told = [line for line in log if "WARNING" in line or "ERROR" in line] or log[-5:]
        raise RuntimeError(f"the book was not built{f'; pages are missing: {gone}' if gone else ''}: {' | '.join(told)}")


def contents(project: Project, names: list[str]) -> dict:
    """The table of contents, with a part for each of the given data sets that it does not name yet.

    Raises ValueError where _toc.yml is none.
    """
    try:
        toc = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"_toc.yml is not valid YAML: {error}") from error
    if not isinstance(toc, dict):
        raise ValueError("_toc.yml is no table of contents: it has no root.")
    try:
        named = set(pages_of(toc))
    except (KeyError, TypeError, AttributeError):
        raise ValueError("_toc.yml is no table of contents: each part needs `chapters`, and each of these a `file`.") from None
    for name in names:
        folder = project.folder(name)
        pages = [f"runs/{folder}/{path.stem}" for path in sorted((project.book / "runs" / folder).glob("*.ipynb"))]
        if pages and not named.intersection(pages):
            if "parts" not in toc:
                raise ValueError("_toc.yml has no parts, to which the notebooks of a data set could be added.")
            toc["parts"].append({"caption": f"Notebooks: {labels.title(folder)}", "chapters": [{"file": page} for page in pages]})
    return toc


def pages_of(toc: dict) -> list[str]:
    """All pages that a table of contents names, in order."""
    inner = [entry for part in toc.get("parts", []) for entry in part["chapters"]] + toc.get("chapters", []) + toc.get("sections", [])
    return [toc[key] for key in ("root", "file") if key in toc] + [page for entry in inner for page in pages_of(entry)]


def book(names: list[str], force: bool = False, root: str | Path = ".") -> str:
    """Run what changed, write the tables, render; gives the lines that say where it is.

    Raises ValueError on an unknown name and on two that have one place in the book, FileNotFoundError where data are not there,
    RuntimeError when a notebook fails or the book is not built.
    """
    project = Project(root)
    if os.environ.get("MIXLIB_DATA"):  # notebooks run in a folder of their own
        os.environ["MIXLIB_DATA"] = str(datasets.root_folder().absolute())
    names, folders = list(dict.fromkeys(map(absolute, names))), dict[str, str]()
    for name in names:
        if (other := folders.setdefault(project.folder(name), name)) != name:
            raise ValueError(f"{other} and {name} have the same place in the book: name one of them, or rename a folder.")
    loaded = {name: datasets.load(name) for name in names}  # an unknown or missing data set is said before anything runs
    contents(project, [])  # what is wrong with it is said now, too
    real = [interactions for interactions in loaded.values() if interactions.name != "synthetic" and not outcomes.apart(interactions.name)]
    for interactions in real:
        note_counts(project, interactions)
    run_notebooks(project, loaded, force)
    for interactions in real:
        note_explorer(project, interactions)
        note_who(project, interactions)
    for interactions in loaded.values():
        note_twins(project, interactions)
    forget(project)
    for name, why in _older(project, folders).items():
        print(f"the pages of {name} show an older state than it has ({why}): build the book with that data set, too.", flush=True)
    stamps, toc = project.book / "_build" / ".ran", contents(project, names)
    _unless_done(stamps / "tables", force, lambda: _read_by_tables(project), lambda: _tables(project), lambda: write_tables(project))
    _unless_done(stamps / "pages", force, lambda: _read_by_pages(project, toc), lambda: _pages(project), lambda: render(project, toc))
    return _ready(project, names)


def _ready(project: Project, names: list[str]) -> str:
    """Where the book is, and where in it the pages of data that are not its own."""
    html = project.book / "_build" / "html"
    own = [html / "runs" / project.folder(name) for name in names if name not in labels.TITLES and name != "synthetic"]
    return "\n".join([f"The book is ready: {html / 'index.html'}", *(f"Pages of {folder.name}: {folder}" for folder in own)])
