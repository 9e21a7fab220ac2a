"""The book: notebooks run by papermill, once per data set, tables and figures from the ledger, and the pages rendered."""

import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import nbformat
import yaml
from tqdm import tqdm

from mixlib import datasets, describe, experiments, explorer, figures, gains, reports, tables, verdicts, winners
from mixlib.datasets import Interactions
from mixlib.ledger import Ledger, code_version, key_of, renamed
from mixlib.names import choose
from mixlib.workers import in_processes

OVERALL = "all"  # the folder of notebooks that are not about one data set
AT_ONCE = 4  # notebooks, at most: each has a core and needs a gigabyte or two

Run = tuple[Path, Path, dict, dict]  # a notebook's source, executed copy, parameters, and what it belongs to


class Project:
    """The folders of a checkout. Raises FileNotFoundError when `root` is none."""

    def __init__(self, root: str | Path = "."):
        self.root = Path(root).resolve()
        self.notebooks, self.book, self.ledger = self.root / "notebooks", self.root / "book", Ledger(self.root / "results")
        if not (self.root / "_toc.yml").is_file() or not self.notebooks.is_dir():
            raise FileNotFoundError("there is no book here: run this in the folder that holds _toc.yml and notebooks/.")

    def sources(self) -> list[Path]:
        """The notebooks, in order."""
        return sorted(self.notebooks.glob("*.ipynb"))

    def executed(self) -> list[Path]:
        """The executed copies that the book shows."""
        return sorted((self.book / "runs").glob("*/*.ipynb"))

    def runs(self, names: list[str]) -> list[tuple[Path, Path, dict]]:
        """(source, executed copy, parameters) of every notebook for each of the data sets; those about none come last."""
        about: list[tuple[Path, Path, dict]] = []
        overall: list[tuple[Path, Path, dict]] = []
        for source in self.sources():
            known = parameters_of(source)
            if "dataset" not in known:
                values = {"figures_folder": "../book/figures"} if "figures_folder" in known else {}
                overall.append((source, self.book / "runs" / OVERALL / source.name, values))
                continue
            for name in names:
                values = {"dataset": name, "profile": "demo" if name.startswith("synthetic") else "paper"}
                about.append((source, self.book / "runs" / name / source.name, values))
        return sorted(about, key=lambda run: names.index(run[2]["dataset"])) + overall

    def belonging(self, source: Path, parameters: dict) -> dict:
        """What an executed copy must belong to: hashes of its source, of mixlib, of the records that it shows; and its parameters."""
        shown = []  # data sets whose records it shows
        if "dataset" not in parameters and "results" in parameters_of(source):
            shown = self.ledger.datasets()
        elif parameters.get("profile") == "paper":
            shown = [parameters["dataset"]]
        records = sha256("".join(map(self.ledger.digest, shown)).encode()).hexdigest()[:12]
        files = sorted(path for pattern in ("*.py", "*.toml") for path in Path(__file__).parent.glob(pattern))
        code = b"".join(path.read_bytes() for path in files if path.stem not in ("cli", "publish"))  # no notebook uses those
        return {"source": source_hash(source), "parameters": parameters, "records": records, "code": sha256(code).hexdigest()[:12]}

    def stale(self, executed: Path) -> list[str]:
        """In what respects an executed copy no longer belongs to its source, parameters and records; empty if it does.

        Its code may be older: `run_notebooks` runs it again, but only where the data are at hand.
        """
        noted = nbformat.read(executed, as_version=4).metadata.get("mixlib")
        source = self.notebooks / executed.name
        if noted is None or not source.is_file():
            return ["it was not made by `mixlib book`" if noted is None else "its source is gone"]
        if noted["parameters"].get("dataset", OVERALL) != executed.parent.name:
            return ["parameters"]
        wanted = self.belonging(source, dict(noted["parameters"]))
        return [what for what in ("source", "parameters", "records") if noted.get(what) != wanted[what]]


def source_hash(notebook: Path) -> str:
    """12 hexadecimal digits that change with a notebook's cells and tags, not with its outputs."""
    cells = [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in nbformat.read(notebook, as_version=4).cells]
    return sha256(json.dumps(cells).encode()).hexdigest()[:12]


def parameters_of(notebook: Path) -> dict:
    """The defaults in a notebook's `parameters` cell, by name."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        if "parameters" in cell.metadata.get("tags", []):
            values: dict = {}
            for line in filter(None, (line.partition("#")[0].strip() for line in cell.source.splitlines())):
                name, _, value = line.partition("=")
                values[name.strip()] = yaml.safe_load(value.strip())
            return values
    raise ValueError(f"{notebook.name} has no cell tagged `parameters`.")


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Raise ValueError on a parameter that the notebook does not have, or of another type than its default."""
    known = parameters_of(notebook)
    for name, value in parameters.items():
        wanted = type(known[choose(f"parameter of {notebook.name} called", name, known)])
        if type(value) is not wanted:
            raise ValueError(f"{notebook.name}: {name} must be {wanted.__name__}, not {value!r}.")


def execute(source: Path, output: Path, parameters: dict, noted: dict | None = None) -> None:
    """Run a notebook with papermill and put the copy at `output` once all of it ran; the old copy stays when it does not.

    noted: what to remember in the copy's metadata. Raises ValueError on wrong parameters, RuntimeError when a cell fails.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    check_parameters(source, parameters)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        ran = Path(folder) / source.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                quiet = ["--IPKernelApp.log_level=50"]  # what a cell raises comes back anyway; the rest is no news to a reader
                papermill.execute_notebook(source, ran, parameters, cwd=str(source.parent), progress_bar=False, extra_arguments=quiet)
        except PapermillExecutionError as error:
            raise RuntimeError(
                f"{source.name} with {parameters} failed in cell {error.cell_index}: {error.ename}: {error.evalue}"
            ) from None
        except RuntimeError as error:
            raise RuntimeError(f"{source.name} with {parameters} was cut off, perhaps for lack of memory: {error}") from None
        notebook = nbformat.read(ran, as_version=4)
    clean(notebook, noted)
    with renamed(output) as partial:  # only now, so that a run that is killed leaves nothing beside the old copy
        nbformat.write(notebook, partial)


def clean(notebook: nbformat.NotebookNode, noted: dict | None = None) -> None:
    """Leave nothing in a notebook that differs between two runs: no times, paths, random ids or versions of the machine."""
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    if noted is not None:
        notebook.metadata["mixlib"] = noted
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        cell.metadata = nbformat.from_dict({name: cell.metadata[name] for name in ("tags", "mystnb") if cell.metadata.get(name)})


def refresh(project: Project) -> None:
    """Store in the source notebooks the outputs of their copies on `synthetic`, which nbval compares: their parameters are the defaults."""
    for source, output, _ in project.runs(["synthetic"]):
        notebook, ran = nbformat.read(source, as_version=4), nbformat.read(output, as_version=4)
        clean(notebook)
        copies = iter(cell for cell in ran.cells if "injected-parameters" not in cell.metadata.get("tags", []))
        count = 0
        for cell, copy in zip(notebook.cells, copies, strict=True):
            if cell.cell_type == "code":
                count += 1
                cell.update(execution_count=count, outputs=copy.outputs)
                for shown in (o for o in cell.outputs if o.output_type == "execute_result"):
                    shown.execution_count = count
        with renamed(source) as partial:
            nbformat.write(notebook, partial)


def run_notebooks(project: Project, names: list[str], force: bool = False) -> list[Path]:
    """Bring the executed copies for the given data sets up to date, several at once; gives those that were run.

    On every machine each copy is run once, even if a committed one would still belong. Raises what `execute` does: copies that were
    finished by then are kept.
    """
    stamps = project.book / "_build" / ".ran"
    due = []
    for source, output, parameters in project.runs(names):
        noted = project.belonging(source, parameters)
        stamp = stamps / output.parent.name / f"{output.stem}.json"
        if force or not output.is_file() or not stamp.is_file() or json.loads(stamp.read_text()) != noted | {"output": _hash(output)}:
            due.append((source, output, parameters, noted))
    if not due:
        return []
    jobs = min(AT_ONCE, os.cpu_count() or 1, len(due))
    made = in_processes(_executed, _announced(due), jobs)
    try:
        with closing(made):
            for output, noted in tqdm(made, total=len(due), desc="notebooks", unit="notebook", disable=None, leave=False):
                stamp = stamps / output.parent.name / f"{output.stem}.json"
                stamp.parent.mkdir(parents=True, exist_ok=True)
                stamp.write_text(json.dumps(noted | {"output": _hash(output)}))
    except BrokenProcessPool:
        raise RuntimeError("a process that ran a notebook died, perhaps for lack of memory: the same command goes on.") from None
    return [output for _, output, _, _ in due]


def _announced(due: list[Run]) -> Iterator[Run]:
    for run in due:
        print(f"running {run[1].parent.name}/{run[1].name}", flush=True)
        yield run


def _executed(run: Run) -> tuple[Path, dict]:
    execute(*run)
    _, output, _, noted = run
    return output, noted


def _hash(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def write_tables(project: Project) -> None:
    """Write the tables and figures of the results page from the ledger into book/tables and book/figures."""
    every = tables.collected(project.ledger)
    results = {key: found for key, found in every.items() if key[1] in reports.MAIN}
    for (dataset, study), found in results.items():
        for what in found.left_out:
            print(f"left out of the tables: {dataset}, {study}: {what}", flush=True)
    (project.book / "tables").mkdir(exist_ok=True)
    for name, make in (("table1", reports.table1), ("gains", reports.gains), ("sources", reports.sources)):
        with renamed(project.book / "tables" / f"{name}.csv") as partial:
            make(results).to_csv(partial, index=False)
    names = list(dict.fromkeys(dataset for dataset, _ in results))
    ratios = {name: kept["ratio"] for name, kept in counts(project).items()}
    by_skew, by_tastes = gains.gain_by_skew(results, ratios), gains.factorial(project.ledger)
    curves = tables.searches(every, project.ledger)
    more = {"references": tables.reference_points(every, names), "components": tables.components(every, names),
            "losses": tables.losses(every), "capacity": tables.capacity(every, names), "dims": tables.dims(every, names),
            "splits": winners.splits(every), "binary": winners.binary(every, project.ledger, names),
            "tastes": winners.tastes(every, names), "progress": tables.progress(every, names),
            "verdict": verdicts.claims(every, ratios), "datasets": describe.data_sets(counts(project)),
            "search": tables.search_curves(curves), "skew": by_skew.round(5), "factorial": by_tastes.round(5)}  # fmt: skip
    for name, table in more.items():
        with renamed(project.book / "tables" / f"{name}.csv") as partial:
            table.to_csv(partial, index=False)
    drawn = project.book / "figures"
    figures.save(figures.table1(results, tables.references_of(every)), drawn / "table1")
    figures.save(figures.searches(curves), drawn / "search")
    figures.save(figures.gains(by_skew, by_tastes), drawn / "gains")
    for name, sentences in (("skew", gains.skew_verdicts(by_skew)), ("references", tables.reference_verdicts(every))):
        with renamed(project.book / "tables" / f"{name}.md") as partial:
            partial.write_text("".join(f"* {said[0].upper()}{said[1:]}\n" for said in sentences))
    extracts = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted((project.book / "tables").glob("explorer/*.json"))
    }
    with renamed(project.book / "tables" / "explorer.html") as partial:
        partial.write_text(explorer.html(extracts), encoding="utf-8")


def _state_of_tables(project: Project) -> str:
    """A hash of all that `write_tables` reads and writes: records and their arrays, counts, code; tables and figures."""
    files = [path for kind in ("json", "npz") for path in project.ledger.root.rglob(f"*.{kind}")]
    files += [path for folder in ("tables", "figures") for path in (project.book / folder).rglob("*.*")]
    return _state([*files, *Path(__file__).parent.glob("*.py")])


def _state_of_pages(project: Project, toc: dict) -> str:
    """A hash of all that `render` reads and writes: contents, the book's files, the version of Jupyter Book; the pages."""
    files = [path for path in project.book.rglob("*") if not {"_build", "__pycache__"}.intersection(path.parts)]
    files += (project.book / "_build" / "html").rglob("*")
    return _state([path for path in files if path.is_file()], f"{yaml.safe_dump(toc)}{version('jupyter-book')}")


def _state(files: list[Path], more: str = "") -> str:
    return sha256("".join([*(f"{path} {_hash(path)}\n" for path in sorted(files)), more]).encode()).hexdigest()


def _unless_done(stamp: Path, force: bool, state: Callable[[], str], make: Callable[[], object]) -> None:
    """Make what is not made yet, or not from what is there now: the stamp holds the state that followed the last time."""
    if force or not stamp.is_file() or stamp.read_text() != state():
        make()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(state())


def counts(project: Project) -> dict[str, dict]:
    """Aggregates of the data sets that were here once, by name."""
    path = project.root / "results" / "counts.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def note_counts(project: Project, interactions: Interactions) -> None:
    """Keep the aggregates of a data set, so that the table of data sets needs no data."""
    kept = dict(sorted((counts(project) | {interactions.name: describe.counted(interactions)}).items()))
    with renamed(project.root / "results" / "counts.json") as partial:
        partial.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def note_explorer(project: Project, interactions: Interactions) -> None:
    """Keep what the taste explorer shows of a data set with titles: of the winning Mixture-LSTM, if there is one and it is not kept yet."""
    results = reports.recorded(project.ledger, interactions.name, "sequences") if interactions.titles is not None else None
    winner = results.selection.winners.get("mixture_lstm") if results else None
    if winner is None:
        return
    folder = project.ledger.folder(interactions.name, "sequences").parent.name
    path = project.book / "tables" / "explorer" / f"{folder}.json"
    of = key_of({"record": winner["key"], "code": code_version(("explorer",))})
    if path.is_file() and json.loads(path.read_text(encoding="utf-8"))["of"] == of:
        return
    model, _ = experiments.trained(winner, interactions, project.ledger)
    made = {"of": of, "title": reports.title(interactions.name), "record": winner["key"]} | explorer.extract(model, interactions)
    path.parent.mkdir(parents=True, exist_ok=True)
    with renamed(path) as partial:
        partial.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")


def render(project: Project, toc: dict) -> None:
    """Build the HTML with warnings as errors, and check that every page of the table of contents exists.

    Raises RuntimeError with the warnings of the build when it fails.
    """
    if not version("jupyter-book").startswith("1."):
        raise RuntimeError(f"jupyter-book {version('jupyter-book')} cannot build this book: install jupyter-book>=1.0.4.post1,<2.")
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", "-W", "--keep-going", str(project.book)]
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "_toc.yml"
        own.write_text(yaml.safe_dump(toc, sort_keys=False))
        built = subprocess.run(
            [*command, "--toc", str(own)], capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"}, check=False
        )
    html = project.book / "_build" / "html"
    pages = [f"{page}.html" for page in pages_of(toc)]
    gone = [page for page in pages if not (html / page).is_file()]
    if built.returncode or gone:
        log = re.sub(r"\x1b\[[0-9;]*m", "", built.stdout + built.stderr).splitlines()
        told = [line for line in log if "WARNING" in line or "ERROR" in line] or log[-5:]
        raise RuntimeError(f"the book was not built{f'; pages are missing: {gone}' if gone else ''}: {' | '.join(told)}")


def contents(project: Project, names: list[str]) -> dict:
    """The table of contents, with a part for each of the given data sets that it does not name yet."""
    toc = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))
    named = set(pages_of(toc))
    for name in names:
        pages = [f"runs/{name}/{path.stem}" for path in sorted((project.book / "runs" / name).glob("*.ipynb"))]
        if pages and not named.intersection(pages):
            toc["parts"].append({"caption": f"Notebooks: {reports.title(name)}", "chapters": [{"file": page} for page in pages]})
    return toc


def pages_of(toc: dict) -> list[str]:
    """All pages that a table of contents names, in order."""
    inner = [entry for part in toc.get("parts", []) for entry in part["chapters"]] + toc.get("chapters", []) + toc.get("sections", [])
    return [toc[key] for key in ("root", "file") if key in toc] + [page for entry in inner for page in pages_of(entry)]


def book(names: list[str], force: bool = False, root: str | Path = ".") -> str:
    """Run what changed, write the tables, render; gives the line that says where the book is."""
    project = Project(root)
    loaded = [datasets.load(name) for name in names]  # an unknown or missing data set is said before anything runs
    real = [interactions for name, interactions in zip(names, loaded, strict=True) if not name.startswith("synthetic")]
    for interactions in real:
        note_counts(project, interactions)
    run_notebooks(project, names, force)
    for interactions in real:
        note_explorer(project, interactions)
    stamps, toc = project.book / "_build" / ".ran", contents(project, names)
    _unless_done(stamps / "tables", force, lambda: _state_of_tables(project), lambda: write_tables(project))
    _unless_done(stamps / "pages", force, lambda: _state_of_pages(project, toc), lambda: render(project, toc))
    return f"The book is ready: {project.book / '_build' / 'html' / 'index.html'}"
