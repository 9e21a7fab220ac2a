"""Notebooks: run by papermill, once per data set, and kept as executed copies that say what they belong to."""

import json
import os
import re
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import nbformat
import yaml
from tqdm import tqdm

from mixlib.datasets import Interactions
from mixlib.files import renamed
from mixlib.labels import title
from mixlib.ledger import Ledger
from mixlib.names import choose
from mixlib.workers import cores, in_processes

OVERALL = "all"  # the folder of notebooks that are not about one data set
AFTERWARDS = ("cli", "publish", "exhibits", "notebooks")  # rooms that no notebook uses
AT_ONCE = 4  # notebooks, at most: each has a core and needs a gigabyte or two

Run = tuple[Path, Path, dict, dict]  # a notebook's source, executed copy, parameters, and what it belongs to


class Project:
    """The folders of a checkout. Raises FileNotFoundError when `root` is none."""

    def __init__(self, root: str | Path = "."):
        self.root = Path(root).resolve()
        self.notebooks, self.book, self.ledger = self.root / "notebooks", self.root / "book", Ledger(self.root / "results")
        if not (self.root / "_toc.yml").is_file() or not self.notebooks.is_dir():
            raise FileNotFoundError("there is no book here: run this in the folder that holds _toc.yml and notebooks/.")

    def folder(self, dataset: str) -> str:
        """The name of a data set's folders, of its records and of its executed notebooks: one made of letters, where it is a path, say."""
        return self.ledger.folder(dataset, "any").parent.name

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
                about.append((source, self.book / "runs" / self.folder(name) / source.name, values))
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
        code = b"".join(path.read_bytes() for path in files if path.stem not in AFTERWARDS)
        return {"source": source_hash(source), "parameters": parameters, "records": records, "code": sha256(code).hexdigest()[:12]}

    def stale(self, executed: Path) -> list[str]:
        """In what respects an executed copy no longer belongs to its source, parameters and records; empty if it does.

        Its code may be older: `run_notebooks` runs it again, but only where the data are at hand.
        """
        noted = read(executed).metadata.get("mixlib")
        source = self.notebooks / executed.name
        if noted is None or not source.is_file():
            return ["it was not made by `mixlib book`" if noted is None else "its source is gone"]
        if self.folder(noted["parameters"].get("dataset", OVERALL)) != executed.parent.name:
            return ["parameters"]
        wanted = self.belonging(source, dict(noted["parameters"]))
        return [what for what in ("source", "parameters", "records") if noted.get(what) != wanted[what]]


def read(path: Path) -> nbformat.NotebookNode:
    """The notebook in a file. Raises ValueError that names the file where it holds none, as after a merge that was left half done."""
    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, AttributeError, KeyError, TypeError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0][:80]
        raise ValueError(f"{path} is no notebook ({why}): mend it, or take it from git again.") from None


def source_hash(notebook: Path) -> str:
    """12 hexadecimal digits that change with a notebook's cells and tags, not with its outputs."""
    cells = [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in read(notebook).cells]
    return sha256(json.dumps(cells).encode()).hexdigest()[:12]


def parameters_of(notebook: Path) -> dict:
    """The defaults in a notebook's `parameters` cell, by name. Raises ValueError without such a cell, and on what is no plain value."""
    for cell in read(notebook).cells:
        if "parameters" in cell.metadata.get("tags", []):
            values: dict = {}
            for line in filter(None, (line.partition("#")[0].strip() for line in cell.source.splitlines())):
                name, _, value = line.partition("=")
                try:
                    values[name.strip()] = yaml.safe_load(value.strip())
                except yaml.YAMLError:
                    raise ValueError(f"{notebook.name}: a parameter must be a plain value, not {value.strip()}.") from None
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
            why = "perhaps for lack of memory" if "died" in str(error) else "perhaps because nothing can be reached at 127.0.0.1"
            raise RuntimeError(f"{source.name} with {parameters} was cut off, {why}: {error}") from None
        notebook = nbformat.read(ran, as_version=4)
    first = notebook.cells[0]
    if "dataset" in parameters and first.cell_type == "markdown":  # pages of one notebook are told apart by their titles
        heading, _, rest = first.source.partition("\n")
        first.source = f"{heading} ({title(output.parent.name)})\n{rest}"
    clean(notebook, noted)
    if os.sep in (given := str(parameters.get("dataset", ""))):  # where a reader's data lie belongs into no page: they have a name
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):  # where papermill wrote the path in its own way
                cell.source = re.sub(r"(?m)^dataset = .*$", f'dataset = "{output.parent.name}"', cell.source)
        written = nbformat.writes(notebook).replace(json.dumps(given, ensure_ascii=False)[1:-1], output.parent.name)
        notebook = nbformat.reads(written, as_version=4)
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
        notebook, ran = read(source), read(output)
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


def run_notebooks(project: Project, loaded: dict[str, Interactions], force: bool = False) -> list[Path]:
    """Bring the executed copies for the given data sets, by name, up to date, several at once; gives those that were run.

    On every machine each copy is run once, even if a committed one would still belong. Raises what `execute` does: copies that were
    finished by then are kept.
    """
    stamps, data = project.book / "_build" / ".ran", {name: state_of(found) for name, found in loaded.items()}
    due = []
    for source, output, parameters in project.runs(list(loaded)):
        noted = project.belonging(source, parameters)
        stamp = stamps / output.parent.name / f"{output.stem}.json"
        if force or not output.is_file() or not stamp.is_file() or stamp.read_text() != _stamped(noted, output, data):
            due.append((source, output, parameters, noted))
    if not due:
        return []
    jobs = min(AT_ONCE, cores(), len(due))
    at_work: dict[Path, str] = {}
    made = in_processes(_executed, _announced(due, at_work), jobs)
    try:
        with closing(made):
            for output, noted in tqdm(made, total=len(due), desc="notebooks", unit="notebook", disable=None, leave=False):
                del at_work[output]
                stamp = stamps / output.parent.name / f"{output.stem}.json"
                stamp.parent.mkdir(parents=True, exist_ok=True)
                stamp.write_text(_stamped(noted, output, data))
    except BrokenProcessPool:
        which = " or ".join(at_work.values())
        raise RuntimeError(f"the process that ran {which} died, perhaps for lack of memory: the same command goes on.") from None
    return [output for _, output, _, _ in due]


def _stamped(noted: dict, output: Path, data: dict[str, str]) -> str:
    """What a copy belongs to here, with its data, which other machines need not have."""
    about = data.get(noted["parameters"].get("dataset", ""), "")
    return json.dumps(noted | {"output": file_hash(output), "data": about}, sort_keys=True)


def state_of(interactions: Interactions) -> str:
    """Hexadecimal digits that change with interactions, windows, whether there is an order in time, the title and titles of items."""
    titles = [] if interactions.titles is None else interactions.titles.tolist()
    windows = (interactions.max_length, interactions.min_length, interactions.ordered)
    return sha256(json.dumps([interactions.fingerprint, windows, interactions.title, titles]).encode()).hexdigest()[:12]


def _announced(due: list[Run], at_work: dict[Path, str]) -> Iterator[Run]:
    """The runs, each noted when it is taken."""
    for run in due:
        at_work[run[1]] = f"{run[1].parent.name}/{run[1].name}"
        print(f"running {at_work[run[1]]}", flush=True)
        yield run


def _executed(run: Run) -> tuple[Path, dict]:
    execute(*run)
    return run[1], run[3]


def file_hash(path: Path) -> str:
    """Hexadecimal digits that change with the content of a file."""
    return sha256(path.read_bytes()).hexdigest()
