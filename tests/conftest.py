import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

from mixlib import models, splits, synthetic
from mixlib.ledger import Ledger, code_version
from mixlib.plans import Subject, search_trials, seed_trials
from mixlib.studies import PAPER, STUDIES


def allowed(*words):
    """Words that a command may follow; none where they are not allowed."""
    return [*words] if shutil.which(words[0]) and not subprocess.run([*words, "true"], capture_output=True).returncode else []


CUT_OFF = allowed("unshare", "-rn")  # a command after these words runs without any network, not even to itself
MOUNTING = allowed("unshare", "-rm")  # after these, it may mount what only itself sees
DISK = """
import os, subprocess
from contextlib import suppress
from pathlib import Path
from mixlib import datasets

def mount(*words):
    subprocess.run(["mount", *words, root], check=True)

root = Path(os.environ["MIXLIB_DATA"])
mount("-t", "tmpfs", "-o", "size=16k", "tmpfs")
"""

torch.set_num_threads(1)  # the models are tiny, the cores busy
settings.register_profile("mixlib", deadline=None, database=None, derandomize=True)
settings.load_profile("mixlib")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_figure_stays_open():
    """A test may leave figures open; the next one starts without them, in whatever order they run."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def complete(selection):
    """Whether every arm that has begun has a winner with at least one retrained record."""
    return bool(selection.finalists) and all(selection.finalists.values())


@pytest.fixture(scope="session")
def tiny():
    """60 users with two tastes among 40 items: enough for every split, fitted in no time."""
    return synthetic.generate(users=60, items=40, tastes=2, clusters=4, length=20)


@pytest.fixture
def data_root(tmp_path, monkeypatch):
    """An empty data root, the only one that is known."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("MIXLIB_DATA", str(root))
    return root


@pytest.fixture
def on_a_disk(data_root):
    """Run a program whose data root is a real disk, small, its own and new; gives the lines that it prints."""
    if not MOUNTING:
        pytest.skip("needs to be allowed to mount")

    def run(program):
        ran = subprocess.run(
            [*MOUNTING, sys.executable, "-c", DISK + program], cwd=data_root.parent, capture_output=True, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout.splitlines()

    return run


def benchmark(name):
    """The script of that name in benchmarks/, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent.parent / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def split_for(kind, interactions):
    """The split that a kind of model is fitted on."""
    if kind in models.SEQUENTIAL:
        return splits.sequence_split(interactions, interactions.max_length, interactions.min_length)
    return splits.random_split(interactions)


def model_for(kind, interactions, dim=4, components=3):
    return models.build(kind, interactions.n_items, interactions.n_users, dim=dim, components=components)


def with_biases(kind, interactions, biases):
    """A model that scores every item (n_items + 1,) the same for everybody: by its bias."""
    model = model_for(kind, interactions)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.biases.weight[:, 0] = torch.as_tensor(biases)
    return model


def popularity_model(kind, split):
    return with_biases(kind, split.train, np.bincount(split.train.items.ravel(), minlength=split.train.n_items + 1))


def record_of(trial, mrr, users=40, noise=0):
    """A made-up record: all users have the reciprocal rank `mrr`, plus a spread that all arms share."""
    spread = np.random.default_rng(noise).normal(0, 0.01, users)
    made = {"key": trial.key, "dataset": "movielens-100k", "study": trial.study, "arm": trial.arm, "stage": trial.stage,
            "index": trial.index, "definition": trial.definition, "status": "done", "validation": {"mrr": mrr},
            "test": {"mrr": mrr, "ndcg_at_10": mrr / 2},
            "best_epoch": 3, "parameters": 10, "device": "cpu", "code": code_version()}  # fmt: skip
    return made, {"reciprocal_ranks": (mrr + spread).astype(np.float32), "users": np.arange(users, dtype=np.int32)}


@pytest.fixture
def ledger(tmp_path):
    """A ledger in which the Mixture-LSTM is 0.02 better than the LSTM, with two search trials and two seeds."""
    ledger, study = Ledger(tmp_path), STUDIES["sequences"]
    subject = Subject("movielens-100k", "f" * 16, 100, 20)
    for arm, trials in search_trials(study, subject, PAPER).items():
        mrr = {"lstm": 0.10, "mixture_lstm": 0.12}[arm]
        for trial in [*trials[:2], *seed_trials(study, trials[0], 2)]:
            record, arrays = record_of(trial, mrr - 0.01 * (trial.index == 1 and trial.stage == "search"), noise=trial.index)
            ledger.write(record, arrays)
    return ledger
