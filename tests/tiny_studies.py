"""Studies of generated users, trained with a tiny budget: the fixtures of the files that test what is shown of them."""

import pytest
from scipy.stats import loguniform

from mixlib import experiments, outcomes, synthetic
from mixlib.ledger import Ledger
from mixlib.studies import PAPER, Budget

SPACE = {
    "batch_size": [64], "learning_rate": loguniform(5e-3, 5e-2), "l2": loguniform(1e-9, 1e-5), "components": [2, 3],
    "gain": loguniform(1, 2),
}  # fmt: skip
TINY = Budget(2, 2, dict.fromkeys(PAPER.epochs, 2), dict.fromkeys(PAPER.dim, 4), dict.fromkeys(PAPER.space, SPACE))
NAMES = ["synthetic"]


@pytest.fixture(scope="module")
def data():
    return synthetic.generate(users=120, items=40, tastes=2, clusters=4, length=20)


@pytest.fixture(scope="module")
def planned(monkeypatch_module):
    """As if the paper had planned the tiny budget."""
    monkeypatch_module.setitem(outcomes.PROFILES, "paper", TINY)


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def ledger(data, planned, tmp_path_factory):
    """Main studies and their references, trained with a tiny budget."""
    ledger = Ledger(tmp_path_factory.mktemp("results"))
    for name in ("sequences", "factorization", "sequence-references", "factorization-references", "sequence-splits", "sequence-patience"):
        experiments.run(name, data, ledger, TINY)
    return ledger


@pytest.fixture(scope="module")
def found(ledger):
    return outcomes.collected(ledger, datasets=["synthetic"])
