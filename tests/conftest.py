import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import settings

from mixlib import models, splits, synthetic

CUT_OFF = ["unshare", "-rn"]  # a command after these words runs without any network, not even to itself
if not shutil.which("unshare") or subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode:
    CUT_OFF = []  # not allowed here

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
