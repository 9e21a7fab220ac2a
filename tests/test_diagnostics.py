from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import model_for, split_for

from mixlib import diagnostics

MIXTURES = ["projection_mixture", "embedding_mixture", "mixture_lstm"]


def spread(model):
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def slowly(model, users, own):
    """The same for one user or window after another, by the definitions; own: the items of each."""
    found = []
    with torch.no_grad():
        tastes, attention = (v.double().numpy() for v in model.represent(users))
    vectors = model.item_vectors.detach().double().numpy()[1:]
    for u, a, items in zip(tastes, attention, own, strict=True):
        logits = a @ vectors.T
        gate = np.exp(logits - logits.max(axis=0)) / np.exp(logits - logits.max(axis=0)).sum(axis=0)
        mean = gate[:, items - 1].mean(axis=1) if len(items) else gate.mean(axis=1)
        pairs = [u[i] @ u[j] / np.linalg.norm(u[i]) / np.linalg.norm(u[j]) for i in range(len(u)) for j in range(i)]
        entropy = -(gate * np.log(np.maximum(gate, 1e-300))).sum(axis=0).mean()
        found.append((entropy, np.exp(-(mean * np.log(mean)).sum()), np.mean(pairs), mean.max(), mean.argmax()))
    return np.array(found)


@pytest.mark.parametrize("chunk", [diagnostics.CHUNK_BYTES, 1])
@pytest.mark.parametrize("kind", MIXTURES)
def test_diagnostics_are_those_of_the_definitions_however_they_are_batched(kind, chunk, tiny, monkeypatch):
    monkeypatch.setattr(diagnostics, "CHUNK_BYTES", chunk)
    split, model = split_for(kind, tiny), spread(model_for(kind, tiny))
    if kind == "mixture_lstm":
        context = split.test.items[:, :-1]
        users, own = torch.as_tensor(context), [window[window > 0] for window in context]
    else:
        kept = split.train.users != split.test.users[0]  # somebody without a history
        split = replace(split, train=split.train.take(np.flatnonzero(kept)))
        users = torch.as_tensor(np.unique(split.test.users))
        own = [split.train.items[split.train.users == user] for user in users.numpy()]
        assert not all(map(len, own))
    found = diagnostics.tastes(model, split)
    names = ("gate_entropy", "effective_tastes", "cosine", "dominant_share", "dominant_taste")
    np.testing.assert_allclose(np.stack([found[name] for name in names], axis=1), slowly(model, users, own), rtol=2e-4, atol=2e-5)


def test_attention_that_knows_no_difference_uses_all_tastes_alike(tiny):
    model = spread(model_for("embedding_mixture", tiny, components=4))
    with torch.no_grad():
        model.encoder.attention.weight.zero_()
    found = diagnostics.tastes(model, split_for("embedding_mixture", tiny))
    np.testing.assert_allclose(found["gate_entropy"], np.log(4), rtol=1e-5)
    np.testing.assert_allclose(found["effective_tastes"], 4, rtol=1e-5)
    np.testing.assert_allclose(found["dominant_share"], 0.25, rtol=1e-5)


def test_attention_that_is_sure_uses_one_taste(tiny):
    model = spread(model_for("embedding_mixture", tiny, dim=4, components=2))
    with torch.no_grad():
        model.items.weight.fill_(1)
        model.encoder.attention.weight[:, :4], model.encoder.attention.weight[:, 4:] = 50, -50
        model.encoder.tastes.weight.fill_(1)
    found = diagnostics.tastes(model, split_for("embedding_mixture", tiny))
    for name, expected in {"gate_entropy": 0, "effective_tastes": 1, "dominant_share": 1, "dominant_taste": 0, "cosine": 1}.items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    assert diagnostics.summary(found, 2)["users_by_taste"] == [1.0, 0.0]


def test_a_single_taste_has_no_gate_to_diagnose(tiny):
    with pytest.raises(ValueError, match="diagnose a mixture"):
        diagnostics.tastes(model_for("factorization", tiny), split_for("factorization", tiny))
