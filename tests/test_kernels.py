import re
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import benchmark, model_for, split_for
from scipy import stats

from mixlib import evaluation, kernels, labels, models, training
from mixlib.losses import LOSSES, first_violator, worst
from mixlib.models import score

needs_compiler = pytest.mark.skipif(not kernels.has_compiler(), reason="there is no C++ compiler here")


def parts(m, c=3, b=5, d=4, n=9):
    """Tastes, attention, item vectors, item biases, and candidates of b users."""
    tastes, attention = torch.randn(b, m, d), torch.randn(b, m, d) if m > 1 else None
    return tastes, attention, torch.randn(n, d), torch.randn(n), torch.randint(1, n, (c, b))


@pytest.mark.parametrize("m", [1, 3])
def test_candidates_score_as_in_equation_1(m):
    tastes, attention, vectors, biases, candidates = parts(m)
    expected = score(tastes, attention, vectors, biases).gather(1, candidates.T).T
    assert torch.allclose(kernels.candidate_scores(tastes, attention, vectors[candidates], biases[candidates]), expected, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("pick", [first_violator, worst])
def test_the_compiled_choice_of_a_negative_is_the_plain_one(m, pick):
    tastes, attention, vectors, biases, candidates = parts(m, c=6, b=200, n=50)
    scores = score(tastes, attention, vectors, biases).gather(1, candidates.T).T
    expected = candidates[1:].gather(0, pick(scores[0], scores[1:]))
    assert torch.equal(kernels.chosen(pick)(tastes, attention, vectors, biases, candidates), expected)


@needs_compiler
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_losses_and_their_gradients_are_the_plain_ones(m, loss):
    function = LOSSES[loss].function
    tastes, attention, vectors, biases, candidates = parts(m, c=2)
    found = []
    for compiled in (False, True):
        leaves = [x.clone().requires_grad_() for x in (tastes, vectors, biases)]
        gate = None if attention is None else attention.clone().requires_grad_()
        chosen, offset = leaves[1][candidates], leaves[2][candidates]
        if compiled:
            value = kernels.mean_loss(function)(leaves[0], gate, chosen, offset)
        else:
            scores = score(leaves[0], gate, chosen.transpose(0, 1), offset.T).T
            value = function(scores[0], scores[1:]).mean()
        value.backward()
        found.append([value.detach(), *(x.grad for x in [*leaves, *([gate] if gate is not None else [])])])
    assert all(torch.allclose(plain, fast, atol=1e-6) for plain, fast in zip(*found, strict=True))
    assert found[0][1].any()  # there was a gradient to compare


@needs_compiler
@pytest.mark.parametrize("kind", models.KINDS)
def test_compiled_scores_of_all_items_are_those_of_the_model(kind, tiny, monkeypatch):
    monkeypatch.setattr(evaluation, "BLOCK_BYTES", 10_000)  # several blocks, the last one smaller
    model, split = model_for(kind, tiny), split_for(kind, tiny)
    users = torch.as_tensor(split.test.items[:, :-1] if model.sequential else np.arange(tiny.n_users))
    with torch.inference_mode():
        scores, expected = evaluation._scores(model, users, fast=True), model.scores(users)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


@needs_compiler
def test_compiled_ranks_are_scipys_average_ranks_with_ties():
    scores = torch.randint(0, 5, (6, 30)).float()
    scores[:, 3] = -torch.inf
    wanted = scores[:, 7:12].contiguous()
    expected = np.stack([stats.rankdata(-row)[7:12] for row in scores.numpy()])
    np.testing.assert_array_equal(evaluation._ranks(scores, wanted, fast=True), expected)
    np.testing.assert_array_equal(evaluation._ranks(scores, wanted, fast=False), expected)


@needs_compiler
def test_compiled_ranking_refuses_nan():
    scores = torch.zeros(2, 4)
    scores[1, 2] = torch.nan
    with pytest.raises(ValueError, match="NaN, which has no rank"):
        evaluation._ranks(scores, scores[:, :1], fast=True)


@needs_compiler
@pytest.mark.parametrize("kind", ["embedding_mixture", "lstm"])
def test_compiled_training_and_ranking_end_where_the_plain_ones_do(kind, tiny, monkeypatch):
    settings, split, found = training.Settings(epochs=2, batch_size=32, learning_rate=0.01), split_for(kind, tiny), []
    for wish in "01":
        monkeypatch.setenv("MIXLIB_COMPILE", wish)
        torch.manual_seed(0)
        model = model_for(kind, tiny)
        history = training.fit(model, split, settings)
        found.append((history.losses, list(history.validation.values())))
    np.testing.assert_allclose(found[1][0], found[0][0], rtol=1e-4)
    np.testing.assert_allclose(found[1][1], found[0][1], rtol=0.02)  # a rank may change where scores nearly tie


@pytest.mark.parametrize("kind", models.KINDS)
def test_small_work_is_never_compiled(kind, tiny, monkeypatch):
    monkeypatch.delenv("MIXLIB_COMPILE", raising=False)
    monkeypatch.setattr(kernels, "_compiled", None)
    for kernel in (kernels.chosen, kernels.mean_loss, kernels.mix, kernels.counted):
        kernel.cache_clear()
    training.fit(model_for(kind, tiny), split_for(kind, tiny), training.Settings(epochs=1))


def test_without_a_compiler_or_on_a_gpu_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("MIXLIB_COMPILE", "1")
    assert not kernels.pays(10**12, torch.device("cuda"))
    monkeypatch.setattr(kernels, "has_compiler", lambda: False)
    assert not kernels.pays(10**12, torch.device("cpu"))


@pytest.mark.parametrize("code, found", [(0, True), (1, False)])
def test_a_compiler_that_cannot_compile_counts_as_none(code, found, tmp_path, monkeypatch):
    (tmp_path / "g++").write_text(f"#!/bin/sh\nexit {code}\n")
    (tmp_path / "g++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert kernels.has_compiler.__wrapped__() is found


def test_the_table_of_quality_comes_from_its_seeds_and_fresh_seeds_settle_the_doubt():
    root = Path(__file__).parent.parent
    quality = benchmark("quality")
    made = quality.table(quality.measured())
    assert made.to_csv(index=False) == (root / "book" / "tables" / "cost-quality.csv").read_text()
    assert set(made["model"]) == {labels.LABELS[kind] for kind in models.KINDS}
    of = {(row["model"], row["seeds"]): re.findall(r"[+-][\d.]+", row["test, difference [95%]"]) for _, row in made.iterrows()}
    first, fresh = of.pop(("Mixture-LSTM", "1 to 10")), of["Mixture-LSTM", "11 to 20"]
    assert float(first[2]) < 0 < float(fresh[0])  # as the page says
    assert all(float(low) <= 0 <= float(high) for _, low, high in of.values())
