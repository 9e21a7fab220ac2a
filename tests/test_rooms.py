import ast
import subprocess
import sys
from pathlib import Path

import pytest

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
    "studies": {"datasets", "synthetic", "splits", "models", "losses", "kernels", "evaluation", "references", "training", "ledger"},
}
ABOVE["experiments"] = {*ABOVE}
ORDER = [*ABOVE, "describe", "reports", "gains", "tables", "figures", "publish", "cli"]  # below the experiments: all above
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


@pytest.mark.parametrize("word", ["pickle", "eval(", "exec("])
def test_nothing_is_unpickled_or_evaluated(word):
    for room in ROOMS:
        text = (HOME / f"{room}.py").read_text(encoding="utf-8")
        assert word not in text.replace("allow_pickle=False", "").replace(".eval()", ""), room


def test_trials_run_without_notebooks_figures_and_downloads():
    without = ["IPython", "jupyter", "jupyter_core", "nbformat", "papermill", "matplotlib", "pooch", "pyarrow", "implicit"]
    text = f"""
import sys
for name in {without}:
    sys.modules[name] = None  # an import of it fails
import os
os.environ["MIXLIB_DATA"] = "."
from mixlib import datasets, experiments, studies
from mixlib.ledger import Ledger
data = datasets.load("synthetic:users=40,items=30,clusters=3,tastes=2,length=12")
print(len(studies.search_trials(studies.STUDIES["sequences"], studies.Subject.of(data), studies.PAPER)))
"""
    found = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True)
    assert (found.stdout, found.stderr) == ("2\n", "")
