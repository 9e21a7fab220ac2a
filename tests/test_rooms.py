import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CUT_OFF

import mixlib
from mixlib.ledger import COMPUTING

HOME = Path(mixlib.__file__).parent
ROOT = Path(__file__).parent.parent
ABOVE = {  # what a room may know of the others; every room may know `names`
    "names": set(),
    "files": set(),
    "reading": set(),
    "parsers": {"reading"},
    "sources": {"parsers"},
    "downloads": {"reading", "sources", "files"},
    "prepared": {"files"},
    "own": {"reading"},
    "datasets": {"reading", "parsers", "sources", "downloads", "prepared", "own", "synthetic"},  # the last inside `load`, lazily
    "synthetic": {"datasets"},
    "splits": {"datasets"},
    "models": set(),
    "losses": set(),
    "kernels": set(),
    "evaluation": {"datasets", "models", "splits", "kernels"},
    "codes": {"models"},
    "diagnostics": {"datasets", "models", "splits"},
    "references": {"splits"},
    "ledger": {"files"},
    "checkpoints": {"files", "models"},
    "adam": {"kernels"},
    "training": {"models", "losses", "splits", "evaluation", "kernels", "adam", "checkpoints"},  # early stopping needs the evaluation
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
    "progress",
    "pooling",
    "prose",
    "gains",
    "tables",
    "searching",
    "ranks",
    "retrained",
    "winners",
    "twins",
    "populations",
    "verdicts",
    "figures",
    "exhibits",
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


def test_the_code_version_is_of_all_rooms_that_a_trial_goes_through():
    seen, left = set(), {"experiments"}
    while left:
        seen.add(room := left.pop())
        left |= (imports(ast.walk(tree(room))) & {*ROOMS}) - seen
    decide_no_number = {"downloads", "files", "ledger", "names", "plans", "prepared", "sources", "studies", "workers"}
    assert seen - decide_no_number == {*COMPUTING}


@pytest.mark.parametrize("room", ROOMS)
def test_imports_only_go_up(room):
    known = ABOVE.get(room, set(ORDER[: ORDER.index(room)]))
    assert imports(ast.walk(tree(room))) <= known | {"names"}


def test_the_order_of_the_rooms_is_told_to_who_changes_them():
    (said,) = re.findall(r"Imports go up only: (.*?)\.\n", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert re.findall(r"`(\w+)`", said) == ORDER


def test_the_one_import_that_goes_down_is_lazy():
    assert "synthetic" not in imports(tree("datasets").body)
    assert "synthetic" in imports(ast.walk(tree("datasets")))


def sources():
    """All code that readers run: by name, the rooms, the code cells of the notebooks, the book's extensions and the benchmarks."""
    found = {path.name: path.read_text(encoding="utf-8") for folder in (HOME, ROOT / "book" / "_ext") for path in folder.glob("*.py")}
    found |= {f"benchmarks/{path.name}": path.read_text(encoding="utf-8") for path in (ROOT / "benchmarks").glob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        found[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return found


SOURCES = sources()


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_unpickled_or_evaluated(name):
    text = SOURCES[name].replace("allow_pickle=False", "").replace(".eval()", "").replace("from joblib import cpu_count\n", "")
    words = "pickle", "marshal", "shelve", "dill", "eval(", "exec(", "torch.load", "joblib", "yaml.load(", "os.system", "shell=True"
    assert [word for word in words if word in text] == []


NETWORK = {
    "socket", "socketserver", "ssl", "asyncio", "urllib", "http", "xmlrpc", "ftplib", "smtplib", "imaplib", "poplib", "telnetlib",
    "webbrowser", "urllib3", "requests", "httpx", "aiohttp", "websockets", "tornado", "zmq", "paramiko", "fsspec", "s3fs", "gcsfs", "boto3",
    "dask", "distributed", "pooch", "kaggle", "gdown", "huggingface_hub", "sklearn.datasets",
}  # fmt: skip
ALLOWED = {"downloads.py": {"requests", "urllib3", "pooch"}, "cluster.py": {"distributed"}}


def network_of(text):
    """What a program imports, or calls by its whole name, that can reach the network."""
    nodes = list(ast.walk(ast.parse(text)))
    names = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    called = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)} & {"__import__", "importlib.import_module"}
    return ({name.split(".")[0] for name in names} | {*names}) & NETWORK | called | ({"torch.hub"} if "torch.hub" in text else set())


def addresses(text):
    """Addresses in a program that something could open: pandas and numpy read from one as they do from a file. Not those of docstrings."""
    nodes = list(ast.walk(ast.parse(text)))
    said = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said]
    return [string for string in strings if re.search(r"\b(https?|ftps?|s3|gs|gcs|hf|tcp)://", string)]


@pytest.mark.parametrize("name", SOURCES)
def test_only_fetch_and_the_cluster_use_the_network(name):
    assert network_of(SOURCES[name]) == ALLOWED.get(name, set())


@pytest.mark.parametrize("name", SOURCES)
def test_addresses_stand_where_downloads_are_described_and_made(name):
    assert name in ("sources.py", "downloads.py") or addresses(SOURCES[name]) == []


@pytest.mark.parametrize(
    "text, found",
    [
        ("import http.client", "http"),
        ("from urllib.request import urlopen", "urllib"),
        ("def f():\n    from asyncio import open_connection", "asyncio"),
        ("import aiohttp as a", "aiohttp"),
        ("import numpy, zmq.asyncio", "zmq"),
        ("from sklearn.datasets import fetch_openml", "sklearn.datasets"),
        ("__import__('soc' + 'ket')", "__import__"),
        ("import torch\ntorch.hub.load('a/b', 'c')", "torch.hub"),
        ("pd.read_csv('https://example.org/a.csv')", "https://example.org/a.csv"),
        ("pd.read_parquet(f's3://{bucket}/a')", "s3://"),
    ],
)
def test_a_use_of_the_network_is_found(text, found):
    assert [*network_of(text), *addresses(text)] == [found]


OFFLINE = """
import socket, sys
from mixlib import cli
for kind in (socket.socket, socket.SocketType):  # SocketType: below Python, where only the system can refuse
    try:
        kind().connect(("127.0.0.1", 9))
    except OSError as error:
        print(error)
sys.argv = ["mixlib", "run", "--dataset", "synthetic:users=40,items=30,tastes=2,clusters=3,length=15", "--study", "factorization"]
sys.argv += ["--trials", "1", "--seeds", "1", "--device", "cpu"]
cli.main()
"""
CLOSED = """
import socket, sys

def refuse(*words, **more):
    print("the network was asked for", file=sys.stderr)
    raise OSError("Network is unreachable, for Python")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = socket.getaddrinfo = refuse
"""


def test_a_study_runs_cut_off_from_the_network(tmp_path):
    """By Python, everywhere: the one try is that of OFFLINE itself. By the system, too, where that is allowed."""
    (tmp_path / "sitecustomize.py").write_text(CLOSED)  # every Python imports it when it starts
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(tmp_path), *sys.path])), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run([*CUT_OFF, sys.executable, "-c", OFFLINE], cwd=tmp_path, capture_output=True, text=True, env=environment)
    said = ran.stdout.splitlines()
    assert ran.returncode == 0 and "complete. Asked for were 1 of 20" in said[-1], ran.stdout + ran.stderr
    assert said[0] == "Network is unreachable, for Python" and ran.stderr.count("the network was asked for") == 1
    assert not CUT_OFF or "[Errno 101] Network is unreachable" in said[1]


ALONE = """
import fcntl, socket, struct, sys
from pathlib import Path
with socket.socket() as one:  # a kernel is talked to over the machine's connection to itself: bring up that one alone
    fcntl.ioctl(one, 0x8914, struct.pack("16sh", b"lo", 1))
from mixlib import notebooks
notebooks.execute(Path(sys.argv[1]), Path(sys.argv[2]), {"dataset": "synthetic:users=40,items=30,tastes=2,clusters=3,length=15"})
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not CUT_OFF, reason="unshare is not allowed here")
@pytest.mark.filterwarnings("ignore")
def test_a_notebook_runs_cut_off_from_the_network(tmp_path):
    source = Path(__file__).parent.parent / "notebooks" / "02-splits.ipynb"
    words = [*CUT_OFF, sys.executable, "-c", ALONE, str(source), str(tmp_path / "made.ipynb")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "IPYTHONDIR": str(tmp_path)}
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert ran.returncode == 0 and "[Errno 101] Network is unreachable" in ran.stdout, ran.stdout + ran.stderr
    assert (tmp_path / "made.ipynb").is_file()


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
