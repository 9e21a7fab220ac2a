import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CUT_OFF

import mixlib

HOME = Path(mixlib.__file__).parent
ABOVE = {  # what a room may know of the others; every room may know `names`
    "names": set(),
    "reading": set(),
    "parsers": {"reading"},
    "sources": {"parsers"},
    "downloads": {"sources"},
    "prepared": set(),
    "datasets": {"reading", "parsers", "sources", "downloads", "prepared", "synthetic"},  # the last inside `load`, lazily
    "synthetic": {"datasets"},
    "splits": {"datasets"},
    "models": set(),
    "losses": set(),
    "kernels": set(),
    "evaluation": {"datasets", "models", "splits", "kernels"},
    "codes": {"models"},
    "diagnostics": {"datasets", "models", "splits"},
    "references": {"splits"},
    "training": {"models", "losses", "splits", "evaluation", "kernels"},  # early stopping needs the evaluation
    "ledger": set(),
    "workers": set(),
    "studies": {"datasets", "references", "training"},
    "plans": {"datasets", "references", "training", "ledger", "studies"},
    "labels": {"studies"},
}
ABOVE["experiments"] = {*ABOVE}
ORDER = [
    *ABOVE,
    "cluster",
    "describe",
    "explorer",
    "outcomes",
    "evidence",
    "reports",
    "gains",
    "tables",
    "searching",
    "winners",
    "twins",
    "verdicts",
    "figures",
    "notebooks",
    "publish",
    "cli",
    "__main__",
]  # below the experiments: all above
ROOMS = sorted(path.stem for path in HOME.glob("*.py") if path.stem != "__init__")


def imports(nodes):
    """Rooms of mixlib that the given statements import."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "mixlib":
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mixlib."):
            found.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {name.name.split(".")[1] for name in node.names if name.name.startswith("mixlib.")}
    return found


def tree(room):
    return ast.parse((HOME / f"{room}.py").read_text(encoding="utf-8"))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_only_go_up(room):
    known = ABOVE.get(room, set(ORDER[: ORDER.index(room)]))
    assert imports(ast.walk(tree(room))) <= known | {"names"}


def test_the_one_import_that_goes_down_is_lazy():
    assert "synthetic" not in imports(tree("datasets").body)
    assert "synthetic" in imports(ast.walk(tree("datasets")))


ROOT = Path(__file__).parent.parent


def sources():
    """All code that readers run: by name, the rooms, the code cells of the notebooks and the book's extensions."""
    found = {path.name: path.read_text(encoding="utf-8") for folder in (HOME, ROOT / "book" / "_ext") for path in folder.glob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return found


SOURCES = sources()


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_or_evaluated(name):
    text = SOURCES[name].replace("allow_pickle=False", "").replace(".eval()", "")
    found = [word for word in ("pickle", "eval(", "exec(", "torch.load", "joblib", "yaml.load(", "os.system", "shell=True") if word in text]
    assert found == []


@pytest.mark.parametrize("name", SOURCES)
def test_only_fetch_and_the_cluster_use_the_network(name):
    tree = ast.parse(SOURCES[name])
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    network = {"socket", "urllib", "http", "requests", "httpx", "ftplib", "pooch", "distributed"}
    used = {imported.split(".")[0] for imported in names} & network
    assert used <= {"datasets.py": {"pooch"}, "downloads.py": network - {"distributed"}, "cluster.py": {"distributed"}}.get(name, set())


OFFLINE = """
import socket, sys
from mixlib import cli
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError as error:
    print(error)
sys.argv = ["mixlib", "run", "--dataset", "synthetic:users=40,items=30,tastes=2,clusters=3,length=15", "--study", "factorization"]
sys.argv += ["--trials", "1", "--seeds", "1", "--device", "cpu"]
cli.main()
"""


@pytest.mark.skipif(not CUT_OFF, reason="needs to be allowed to cut off a process")
def test_a_study_runs_cut_off_from_the_network(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*CUT_OFF, sys.executable, "-c", OFFLINE], cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0 and "unreachable" in ran.stdout.splitlines()[0] and "complete. Asked for were 1 of 20" in ran.stdout, (
        ran.stdout + ran.stderr
    )


def test_trials_run_without_notebooks_figures_and_downloads():
    without = ["IPython", "jupyter", "jupyter_core", "nbformat", "papermill", "matplotlib", "pooch", "pyarrow", "implicit", "distributed"]
    text = f"""
import sys
for name in {without}:
    sys.modules[name] = None  # an import of it fails
import os
os.environ["MIXLIB_DATA"] = "."
from mixlib import datasets, experiments, plans, studies
from mixlib.ledger import Ledger
data = datasets.load("synthetic:users=40,items=30,clusters=3,tastes=2,length=12")
print(len(plans.search_trials(studies.STUDIES["sequences"], plans.Subject.of(data), studies.PAPER)))
"""
    found = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("2\n", "")
