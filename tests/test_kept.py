"""What is kept of the real data sets beside the records, made again from the data, where they lie: code that changed may have left it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from conftest import benchmark

from mixlib import datasets, describe, gains, labels, outcomes, populations, twins
from mixlib.ledger import Ledger

ROOT = Path(__file__).parents[1]
KEPT = {name: Ledger(ROOT / "results").noted(name) for name in ("counts", "twins", "who")}


@pytest.fixture
def real(request, tmp_path):
    """A data set of those that are kept, read from the data root without a trace there; a test of one that does not lie here is skipped."""
    name, _, copies = request.param.partition(":")
    there, here = datasets.root_folder() / name, tmp_path / name
    if not there.is_dir():
        pytest.skip("the data do not lie here")
    here.mkdir()
    for file in (file for file in there.iterdir() if file.name != "prepared.npz"):
        (here / file.name).symlink_to(file.resolve())
    found = datasets.load(":".join(filter(None, (name, copies))), tmp_path)
    kept = KEPT["counts"][name]
    if found.originals is None and (len(found), found.n_users, found.n_items) != (kept["interactions"], kept["users"], kept["items"]):
        pytest.skip("another version of the data lies here")
    return found


def as_kept(made):
    return json.loads(json.dumps(made))


@pytest.mark.parametrize("real", KEPT["counts"], indirect=True)
def test_counts_and_who_gains_come_out_again(real):
    kept, ledger = dict(KEPT["counts"][real.name]), Ledger(ROOT / "results")
    counted = as_kept(describe.counted(real))
    assert (counted.pop("notes"), counted.pop("near_twins")) == (kept.pop("notes"), pytest.approx(kept.pop("near_twins")))
    assert counted == pytest.approx(kept)
    for study, one in KEPT["who"][real.name].items():
        assert gains.extremes(outcomes.study(study, real, ledger=ledger), real, ledger) == one["rows"]


@pytest.mark.parametrize("real", KEPT["twins"], indirect=True)
def test_gains_on_twins_come_out_again(real):
    results = outcomes.study("sequences", real, ledger=ROOT / "results")
    assert not populations.repeats(results, real).any()  # as the page Set-up says
    measured, kept = as_kept(twins.measured(results, real)), KEPT["twins"][real.name]
    assert measured["records"] == kept["records"] and len(measured["parts"]) == len(kept["parts"])
    for ours, theirs in zip(measured["parts"], kept["parts"], strict=True):
        assert ours.pop("wide") == pytest.approx(theirs["wide"]) and ours == pytest.approx({k: v for k, v in theirs.items() if k != "wide"})


def test_the_luck_of_the_searches_of_2018_comes_out_again_of_the_archive():
    folder, archive = datasets.root_folder() / "published-trials", benchmark("archive")
    if not folder.is_dir():
        pytest.skip("the author's trials do not lie here")
    archived = archive.arms(folder)
    assert archive.table(archived).to_csv(index=False) == archive.TABLE.read_text(encoding="utf-8")
    for source in ("paper", "archive"):
        for dataset, models in labels.PUBLISHED[source]["mrr"].items():
            for model, mrr in models.items():
                validation, test = archived[dataset, model]
                assert round(test[validation.argmax()], 4) == mrr
    kinds = {file: pd.read_csv(folder / f"{file}.csv")["model_type"] for file in archive.MODELS}
    trials = pd.read_csv(folder / "sequence.csv")
    same, lstm = (trials[(trials["dataset"] == "10M") & (trials["model_type"] == name)] for name in ("mixture", "lstm"))
    lost = same["test_mrr"] == same["test_mrr"].min()
    assert archive.lost(same["test_mrr"].to_numpy()) == lost.sum() == 7 and len(set(same.loc[lost, "validation_mrr"])) == 1
    assert (lost == (same["learning_rate"] > 0.0115)).all()
    fast = lstm.loc[lstm["learning_rate"] > 0.0115, "test_mrr"]
    certainty = (archive.TABLE.parent.parent / "certainty.md").read_text(encoding="utf-8")
    assert f"above 0.0115, where the LSTM has {len(fast)} trials, the worst of which reaches a test MRR of {fast.min():.3f}." in certainty
    others = ~kinds["sequence"].isin(archive.MODELS["sequence"].values())
    said = (ROOT / "book" / "differences.md").read_text(encoding="utf-8")
    assert f"Half of the archived trials of sequence models ({others.sum()} of {len(others)})" in said
    assert f"but for {(kinds['factorization'] == 'mixture_init').sum()} later ones of the projection mixture" in said
