"""Fits that are cut off, and go on."""

from dataclasses import replace

import pytest
import torch
from conftest import model_for, split_for

from mixlib import checkpoints, experiments, kernels, models, training
from mixlib.checkpoints import Checkpoint
from mixlib.ledger import Ledger
from mixlib.plans import Subject, search_trials
from mixlib.studies import DEMO, STUDIES

EPOCHS = 6
KILLED = KeyboardInterrupt  # whatever ends the process


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


def fitted(kind, data, where=None, device="cpu", **settings):
    torch.manual_seed(3)
    model = model_for(kind, data, dim=8).to(device)
    chosen = training.Settings(**{"epochs": EPOCHS, "batch_size": 64, "learning_rate": 0.02, "seed": 7} | settings)
    history = training.fit(model, split_for(kind, data), chosen, where)
    return {name: values.cpu() for name, values in model.state_dict().items()}, replace(history, seconds=0.0)


def cut_off(monkeypatch, call, *words, after, **options):
    """Call something, and end it when it validates once more than `after` times."""
    left = iter(range(after))

    def validation_mrr(model, data):
        if next(left, None) is None:
            raise KILLED
        return mrr(model, data)

    mrr = training.validation_mrr
    with monkeypatch.context() as patched:
        patched.setattr(training, "validation_mrr", validation_mrr)
        with pytest.raises(KILLED):
            call(*words, **options)


def same(one, other):
    return one[1] == other[1] and one[0].keys() == other[0].keys() and all(torch.equal(one[0][name], other[0][name]) for name in one[0])


@pytest.mark.parametrize("settings", [{}, {"validate_every": 2}, {"exclude_positives": True, "loss": "bpr"}], ids=str)
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_fit_that_is_cut_off_again_and_again_ends_with_the_parameters_of_one_that_is_not(tiny, tmp_path, monkeypatch, kind, settings):
    whole, where = fitted(kind, tiny, **settings), Checkpoint(tmp_path / "state", "mark")
    for _ in range(EPOCHS // settings.get("validate_every", 1) - 1):  # each gets by one validation further
        cut_off(monkeypatch, fitted, kind, tiny, where, after=1, **settings)
    tensors, rest = where.read()
    assert len(rest["losses"]) == EPOCHS - 1 and rest["losses"] == whole[1].losses[:-1] and "optimizer.0.exp_avg" in tensors
    assert same(fitted(kind, tiny, where, **settings), whole)
    assert not same(fitted(kind, tiny, seed=8, **settings), whole)


@pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")
def test_compiled_steps_go_on_too(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    whole, where = fitted("embedding_mixture", tiny), Checkpoint(tmp_path / "state", "mark")
    cut_off(monkeypatch, fitted, "embedding_mixture", tiny, where, after=3)
    assert same(fitted("embedding_mixture", tiny, where), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_fit_on_a_gpu_goes_on_with_its_draws(tiny, tmp_path, monkeypatch, kind):
    """Sums on a GPU differ in their last bits from run to run: the losses are close, and would not be with other draws."""
    settings, where = {"device": "cuda", "learning_rate": 1e-4}, Checkpoint(tmp_path / "state", "mark")
    whole = fitted(kind, tiny, **settings)[1]
    cut_off(monkeypatch, fitted, kind, tiny, where, after=3, **settings)
    assert fitted(kind, tiny, where, **settings)[1].losses == pytest.approx(whole.losses, rel=1e-4)


def test_a_fit_that_ran_out_of_patience_is_over(tiny, tmp_path, monkeypatch):
    settings, where = {"epochs": 300, "patience": 2, "learning_rate": 0.1}, Checkpoint(tmp_path / "state", "mark")
    whole = fitted("factorization", tiny, **settings)
    last = len(whole[1].losses)
    assert last < 300
    cut_off(monkeypatch, fitted, "factorization", tiny, where, after=last - 1, **settings)
    assert same(fitted("factorization", tiny, where, **settings), whole)


@pytest.mark.parametrize("harm", ["absent", "another mark", "empty", "half", "noise", "a folder"])
def test_a_state_that_is_none_is_not_gone_on_from(tiny, tmp_path, monkeypatch, harm):
    path = tmp_path / "state"
    cut_off(monkeypatch, fitted, "factorization", tiny, Checkpoint(path, "mark"), after=3)
    content = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "absent":
        path.write_bytes({"another mark": content, "empty": b"", "half": content[: len(content) // 2], "noise": content[::-1]}[harm])
    where = Checkpoint(path, "another" if harm == "another mark" else "mark")
    assert where.read() is None
    assert same(fitted("factorization", tiny, where), fitted("factorization", tiny))


def test_a_state_that_cannot_be_written_is_left_out(tiny, tmp_path):
    where = Checkpoint(tmp_path / "gone" / "state", "mark")
    assert same(fitted("factorization", tiny, where), fitted("factorization", tiny))
    assert not list(tmp_path.iterdir())


# --- in a study

SHORT = replace(DEMO, trials=1, seeds=1, epochs={"sequences": EPOCHS, "factorization": EPOCHS})


def essence(ledger, name, data):
    varying = ("seconds", "peak_memory_bytes")
    return {key: {k: v for k, v in record.items() if k not in varying} for key, record in ledger.read(data.name, name).items()}


@pytest.mark.parametrize("name", ["factorization", "sequences"])
def test_a_study_goes_on_within_a_trial_and_leaves_no_state(tiny, tmp_path, monkeypatch, name):
    whole, torn = Ledger(tmp_path / "whole"), Ledger(tmp_path / "torn")
    experiments.run(name, tiny, whole, SHORT)
    cut_off(monkeypatch, experiments.run, name, tiny, torn, SHORT, after=1)
    (left,) = (tmp_path / "torn").rglob("*.safetensors")
    assert left.parent == torn.folder(tiny.name, name) and not torn.read(tiny.name, name)
    validated, mrr = [], training.validation_mrr
    monkeypatch.setattr(training, "validation_mrr", lambda model, data: validated.append(model.kind) or mrr(model, data))
    experiments.run(name, tiny, torn, SHORT)
    assert essence(torn, name, tiny) == essence(whole, name, tiny)
    of_all = sum(len(record["validation_mrr"]) for record in whole.read(tiny.name, name).values())
    assert len(validated) == of_all - 1
    assert not list((tmp_path / "torn").rglob("*.safetensors"))


def test_the_time_before_a_cut_counts(tiny, tmp_path, monkeypatch):
    trial = next(iter(search_trials(STUDIES["factorization"], Subject.of(tiny), SHORT).values()))[0]
    ledger = Ledger(tmp_path)
    ledger.prepare(tiny.name, trial.study)
    cut_off(monkeypatch, experiments.run_trial, trial, tiny, ledger=ledger, after=1)
    path = ledger.state(tiny.name, trial.study, trial.key)
    read = Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda where: (found := read(where)) and (found[0], found[1] | {"seconds": 1000.0}))
    assert path.is_file() and 1000 < experiments.run_trial(trial, tiny, ledger=ledger)[0]["seconds"]["fit"] < 1100
    path.unlink()
    assert experiments.run_trial(trial, tiny, ledger=ledger)[0]["seconds"]["fit"] < 100


@pytest.mark.parametrize("change", ["code", "threads", "processor", "definition"])
def test_other_code_and_other_machines_begin_anew(tiny, tmp_path, monkeypatch, change):
    trial = next(iter(search_trials(STUDIES["factorization"], Subject.of(tiny), SHORT).values()))[0]
    ledger = Ledger(tmp_path)
    ledger.prepare(tiny.name, trial.study)
    cut_off(monkeypatch, experiments.run_trial, trial, tiny, ledger=ledger, after=1)
    read, found = Checkpoint.read, []
    monkeypatch.setattr(Checkpoint, "read", lambda where: found.append(read(where)) or found[-1])
    provenance = experiments.provenance()
    if change == "definition":
        definition = trial.definition | {"training": trial.definition["training"] | {"learning_rate": 0.03}}
        trial = replace(trial, definition=definition)
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    else:
        name = {"code": "code", "processor": "machine"}[change]
        monkeypatch.setattr(experiments, "provenance", lambda: provenance | {name: "another"})
    experiments.run_trial(trial, tiny, ledger=ledger)
    assert found == [None]
