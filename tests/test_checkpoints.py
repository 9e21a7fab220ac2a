"""Fits that are cut off, and go on."""

import os
import platform
import random
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import model_for, split_for
from safetensors.torch import save_file
from torch import nn

from mixlib import adam, checkpoints, experiments, kernels, models, training
from mixlib.checkpoints import Checkpoint
from mixlib.ledger import Ledger
from mixlib.plans import Subject, search_trials
from mixlib.studies import DEMO, STUDIES

EPOCHS = 6
KILLED = KeyboardInterrupt  # whatever ends the process


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    monkeypatch.setattr(checkpoints, "EVERY", 0.0)


def fitted(kind, data, where=None, device="cpu", dim=8, **settings):
    torch.manual_seed(3)
    model = model_for(kind, data, dim=dim).to(device)
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
    whole, where = fitted(kind, tiny, **settings), Checkpoint(tmp_path / "state")
    for _ in range(EPOCHS // settings.get("validate_every", 1) - 1):  # each gets by one validation further
        cut_off(monkeypatch, fitted, kind, tiny, where, after=1, **settings)
    tensors, rest = where.read()
    assert len(rest["losses"]) == EPOCHS - 1 and rest["losses"] == whole[1].losses[:-1] and "moments.exp_avg.biases.weight" in tensors
    assert same(fitted(kind, tiny, where, **settings), whole)
    assert not same(fitted(kind, tiny, seed=8, **settings), whole)


@pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")
def test_compiled_steps_go_on_too(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    whole, where = fitted("embedding_mixture", tiny), Checkpoint(tmp_path / "state")
    cut_off(monkeypatch, fitted, "embedding_mixture", tiny, where, after=3)
    assert same(fitted("embedding_mixture", tiny, where), whole)


@pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")
@pytest.mark.parametrize("late", [(True, False), (False, True), (True, True)], ids=str)
def test_a_fit_goes_on_from_a_state_whether_it_was_late_or_not(tiny, tmp_path, monkeypatch, late):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    assert adam.compiled() or platform.machine() != "x86_64"
    settings, where = {"dim": 32, "batch_size": 16}, Checkpoint(tmp_path / "state")
    monkeypatch.setattr(adam, "suits", lambda table, named: late[0])
    whole = fitted("embedding_mixture", tiny, **settings)
    cut_off(monkeypatch, fitted, "embedding_mixture", tiny, where, after=3, **settings)
    monkeypatch.setattr(adam, "suits", lambda table, named: late[1])
    assert same(fitted("embedding_mixture", tiny, where, **settings), whole)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_fit_on_a_gpu_goes_on_with_its_draws(tiny, tmp_path, monkeypatch, kind):
    """Sums on a GPU differ in their last bits from run to run: the losses are close, and would not be with other draws."""
    settings, where = {"device": "cuda", "learning_rate": 1e-4}, Checkpoint(tmp_path / "state")
    whole = fitted(kind, tiny, **settings)[1]
    cut_off(monkeypatch, fitted, kind, tiny, where, after=3, **settings)
    assert fitted(kind, tiny, where, **settings)[1].losses == pytest.approx(whole.losses, rel=1e-4)


def test_a_fit_that_ran_out_of_patience_is_over(tiny, tmp_path, monkeypatch):
    settings, where = {"epochs": 300, "patience": 2, "learning_rate": 0.1}, Checkpoint(tmp_path / "state")
    whole = fitted("factorization", tiny, **settings)
    last = len(whole[1].losses)
    assert last < 300
    cut_off(monkeypatch, fitted, "factorization", tiny, where, after=last - 1, **settings)
    assert same(fitted("factorization", tiny, where, **settings), whole)


@pytest.mark.parametrize("harm", ["absent", "empty", "half", "noise", "a folder", "no digest"])
def test_a_state_that_is_none_is_not_gone_on_from(tiny, tmp_path, monkeypatch, harm):
    path = tmp_path / "state"
    cut_off(monkeypatch, fitted, "factorization", tiny, Checkpoint(path), after=3)
    content = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm == "no digest":
        save_file({"model.x": torch.zeros(2)}, path)
    elif harm != "absent":
        path.write_bytes({"empty": b"", "half": content[: len(content) // 2], "noise": content[::-1]}[harm])
    assert Checkpoint(path).read() is None
    assert same(fitted("factorization", tiny, Checkpoint(path)), fitted("factorization", tiny))


def test_no_flipped_bit_of_a_state_is_gone_on_from(tmp_path):
    where, draw = Checkpoint(tmp_path / "state"), random.Random(0)
    where.write({"x": torch.rand(3, 4), "y": torch.tensor(7.0)}, {"losses": [0.5]})
    content = where.path.read_bytes()
    tensors, rest = where.read()
    for place in draw.sample(range(8 * len(content)), 300):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        where.path.write_bytes(changed)
        found = where.read()
        assert found is None or (found[1] == rest and all(torch.equal(found[0][name], tensors[name]) for name in tensors))


def test_a_kill_in_the_middle_of_writing_leaves_the_state_before(tmp_path, monkeypatch):
    where = Checkpoint(tmp_path / "state")
    where.write({"x": torch.ones(3)}, {"losses": [0.5]})

    def killed(tensors, path, facts):
        path.write_bytes(b"half")
        raise KILLED

    monkeypatch.setattr(checkpoints, "save_file", killed)
    with pytest.raises(KILLED):
        where.write({"x": torch.zeros(3)}, {"losses": [0.5, 0.4]})
    assert where.read()[1] == {"losses": [0.5]}


def test_a_state_is_written_every_ten_minutes(tiny, tmp_path, monkeypatch):
    monkeypatch.undo()
    clock, written = iter(range(0, 10_000, 250)), []
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))  # asked once at the start, once an epoch, once more to write
    monkeypatch.setattr(Checkpoint, "write", lambda where, tensors, rest: written.append((len(rest["losses"]), rest["seconds"])))
    fitted("factorization", tiny, Checkpoint(tmp_path / "state"), epochs=10)
    assert written == [(3, 1000), (6, 2000), (9, 3000)]


def test_the_time_before_each_cut_counts(tiny, tmp_path, monkeypatch):
    clock, where = iter(range(0, 10_000, 100)), Checkpoint(tmp_path / "state")
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock))
    for cut in (1, 2):  # two epochs each time, and 400 seconds by this clock
        cut_off(monkeypatch, fitted, "factorization", tiny, where, after=2)
        assert (len(where.read()[1]["losses"]), where.read()[1]["seconds"]) == (2 * cut, 400 * cut)


# --- models of one's own


class Tied(nn.Module):
    """Tastes that are the attention, too; a table that lies across memory; dropout, and a buffer."""

    def __init__(self, n_users, d, m):
        super().__init__()
        self.tastes, self.attention = models.Table(n_users, m * d), models.Table(n_users, m * d)
        self.attention.weight = self.tastes.weight
        self.turn = nn.Parameter(torch.randn(d, m).T)
        self.form, self.dropout = (m, d), nn.Dropout(0.2)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, users):
        tastes = self.dropout(self.tastes(users).unflatten(-1, self.form))
        return tastes, self.attention(users).unflatten(-1, self.form) * self.turn * self.scale


class Other(Tied):
    def __init__(self, n_users, d, m):
        super().__init__(n_users, d, m)
        self.turn = nn.Parameter(torch.randn(d, m).T[:, :1])


def test_a_model_of_ones_own_goes_on_too_but_not_from_the_state_of_another(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(models.KINDS, "own_mixture", lambda n_users, d, m, gain: Tied(n_users, d, m))
    assert not Tied(3, 4, 2).turn.is_contiguous()
    whole, where = fitted("own_mixture", tiny), Checkpoint(tmp_path / "state")
    cut_off(monkeypatch, fitted, "own_mixture", tiny, where, after=3)
    assert same(fitted("own_mixture", tiny, where), whole)
    monkeypatch.setitem(models.KINDS, "own_mixture", lambda n_users, d, m, gain: Other(n_users, d, m))
    assert where.read() and same(fitted("own_mixture", tiny, where), fitted("own_mixture", tiny))


def test_a_state_that_cannot_be_written_is_left_out(tiny, tmp_path):
    where = Checkpoint(tmp_path / "gone" / "state")
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


@pytest.fixture
def begun(tiny, tmp_path, monkeypatch):
    """A ledger, and a trial of which it holds a state."""
    trial = next(iter(search_trials(STUDIES["factorization"], Subject.of(tiny), SHORT).values()))[0]
    ledger = Ledger(tmp_path)
    ledger.prepare(tiny.name, trial.study)
    cut_off(monkeypatch, experiments.run_trial, trial, tiny, ledger=ledger, after=1)
    return ledger, trial


def states(ledger):
    return sorted(ledger.root.rglob("*.state.safetensors"))


def test_a_worker_goes_on_from_a_state(tiny, begun):
    """Of the search's three trials one has begun: in a process of two it is gone on with, and its state goes."""
    ledger, trial = begun
    (path,) = states(ledger)
    tensors, rest = Checkpoint(path).read()
    Checkpoint(path).write(tensors, rest | {"seconds": 1000.0})
    experiments.run("factorization", tiny, ledger, SHORT, jobs=2)
    times = {record["key"]: record["seconds"]["fit"] for record in ledger.read(tiny.name, "factorization").values()}
    assert times.pop(trial.key) > 1000 > max(times.values()) and not states(ledger)


@pytest.mark.parametrize("change", ["code", "threads", "machine", "definition", "compiler", "versions"])
def test_other_code_and_other_machines_begin_anew_and_leave_the_state(tiny, monkeypatch, begun, change):
    ledger, trial = begun
    (path,) = states(ledger)
    found, read = [], Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda where: found.append(read(where)) or found[-1])
    provenance = experiments.provenance()
    if change == "definition":
        definition = trial.definition | {"training": trial.definition["training"] | {"learning_rate": 0.03}}
        trial = replace(trial, definition=definition)
    elif change == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    elif change == "compiler":
        monkeypatch.setattr(kernels, "has_compiler", lambda: "another")
    else:
        monkeypatch.setattr(experiments, "provenance", lambda: provenance | {change: "another"})
    experiments.run_trial(trial, tiny, ledger=ledger)
    assert found == [None] and path in states(ledger) and len(states(ledger)) == 2


def test_states_that_nobody_needs_are_removed(tiny, begun):
    ledger, trial = begun
    (path,) = states(ledger)
    assert ledger.set_aside(tiny.name, trial.study) == [] and states(ledger) == [path]
    other = path.with_name(path.name.replace(trial.key, "0" * 16))
    shutil.copy(path, other)
    os.utime(other, (0, 0))
    record, arrays = experiments.run_trial(trial, tiny)
    ledger.write(record, arrays)
    assert states(ledger) == [other]
    shutil.copy(other, path)  # by a slower process
    ledger.set_aside(tiny.name, trial.study)
    assert states(ledger) == []
