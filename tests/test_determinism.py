"""What the page on determinism promises."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import model_for, split_for

from mixlib import evaluation, experiments, kernels, models, splits, synthetic, training
from mixlib.losses import LOSSES
from mixlib.plans import Subject, search_trials
from mixlib.studies import DEMO, STUDIES

VARYING = ("seconds", "peak_memory_bytes")
SHORT = replace(DEMO, trials=1, epochs={"sequences": 2, "factorization": 2})
TRIALS = {arm: trials[0] for name in ("sequences", "factorization") for arm, trials in search_trials(
    STUDIES[name], Subject("synthetic", "", 50, 10), SHORT).items()}  # fmt: skip


def outcome(arm, data):
    """The record of a short trial as text, without seconds and memory, and its arrays as bytes."""
    trial = TRIALS[arm]
    record, arrays = experiments.run_trial(replace(trial, definition=trial.definition | {"fingerprint": data.fingerprint}), data)
    return json.dumps({name: value for name, value in record.items() if name not in VARYING}), [a.tobytes() for a in arrays.values()]


@pytest.mark.parametrize("arm", TRIALS)
def test_the_same_trial_gives_the_identical_record_whatever_was_computed_before(tiny, arm):
    first = outcome(arm, tiny)
    torch.manual_seed(99)
    np.random.default_rng(99).normal(size=10)
    assert outcome(arm, tiny) == first


@pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")
@pytest.mark.parametrize("arm", ["lstm", "embedding_mixture"])
def test_compiled_kernels_give_the_identical_record_too(tiny, arm, monkeypatch):
    """Work of this size is not compiled unless one asks for it; large work is."""
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    asked = []
    for name in ("mean_loss", "counted"):
        kernel = getattr(kernels, name)
        monkeypatch.setattr(kernels, name, lambda *words, name=name, kernel=kernel: asked.append(name) or kernel(*words))
    first = outcome(arm, tiny)
    assert set(asked) == {"mean_loss", "counted"}
    torch.manual_seed(99)
    assert outcome(arm, tiny) == first


def ranks(kind, model, split, rows=None):
    """Reciprocal ranks on test: one for each window, or each user."""
    if kind in models.SEQUENTIAL:
        test = (
            split.test
            if rows is None
            else splits.Sequences(split.test.items[rows], split.test.users[rows], split.test.n_items, split.test.n_users)
        )
        return evaluation.sequence_reciprocal_ranks(model, test)
    return evaluation.interaction_reciprocal_ranks(model, split if rows is None else replace(split, test=split.test.take(rows)))


@pytest.mark.parametrize("kind", models.KINDS)
def test_ranking_depends_neither_on_the_size_of_batches_nor_on_the_order_of_users(tiny, kind, monkeypatch):
    split = split_for(kind, tiny)
    model = model_for(kind, tiny, dim=16)
    whole = ranks(kind, model, split)
    assert len(whole) > 5
    rows = np.random.default_rng(0).permutation(len(split.test))
    shuffled = ranks(kind, model, split, rows)
    np.testing.assert_allclose(shuffled, whole[rows] if kind in models.SEQUENTIAL else whole, rtol=1e-6)
    for size in (1, 100_000):  # bytes: one user at a time, and a few
        monkeypatch.setattr(evaluation, "CHUNK_BYTES", size)
        np.testing.assert_allclose(ranks(kind, model, split), whole, rtol=1e-6)


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")


@needs_cuda
@pytest.mark.parametrize("kind", models.KINDS)
def test_a_model_ranks_the_same_on_a_gpu(tiny, kind):
    split, model = split_for(kind, tiny), model_for(kind, tiny, dim=16)
    here = ranks(kind, model, split)
    np.testing.assert_allclose(ranks(kind, model.to("cuda"), split), here, rtol=1e-3)


@needs_cuda
@pytest.mark.parametrize("arm", TRIALS)
def test_a_gpu_and_a_cpu_agree_within_the_interval_of_their_difference(arm):
    data = synthetic.generate(users=300, items=60, tastes=2, clusters=4, length=30)
    definition = TRIALS[arm].definition | {"fingerprint": data.fingerprint}
    definition |= {"training": definition["training"] | {"epochs": 20}}
    found = {device: experiments.run_trial(replace(TRIALS[arm], definition=definition), data, device)[1] for device in ("cpu", "cuda")}
    gap = evaluation.compare(found["cpu"]["reciprocal_ranks"], found["cuda"]["reciprocal_ranks"], found["cpu"]["users"], level=0.999)
    assert not gap.decided


@needs_cuda
@pytest.mark.parametrize(
    ("kind", "loss"),
    [(kind, "adaptive_hinge") for kind in models.KINDS if kind not in models.SEQUENTIAL] + [("embedding_mixture", loss) for loss in LOSSES],
)
def test_recorded_steps_take_a_model_where_plain_ones_take_it(tiny, kind, loss, monkeypatch):
    """After few steps: later, last bits grow to differences as large as those of two seeds."""
    split, moved = split_for(kind, tiny), []
    for recorded in (True, False):
        monkeypatch.setattr(training, "_records", lambda *words, recorded=recorded: recorded)
        torch.manual_seed(1)
        model = model_for(kind, tiny, dim=16).to("cuda")
        before = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        steps = training.Settings(loss, len(split.train) // 12 - 1, epochs=1, seed=3)  # the last batch is smaller
        training.fit(model, split, steps)
        moved.append(torch.nn.utils.parameters_to_vector(model.parameters()).detach() - before)
    assert (moved[0] - moved[1]).norm() < 0.05 * moved[1].norm()
