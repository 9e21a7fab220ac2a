import numpy as np
import pytest
import torch
from conftest import model_for, split_for

from mixlib import codes, evaluation, models

KINDS = sorted(models.KINDS)


def users_of(model, data):
    return torch.as_tensor(data.test.items[:, :-1] if model.sequential else np.unique(data.test.users))


def spread(model):
    """The model with biases and with vectors that are not tiny, so that a softmax over attention does something."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


@pytest.mark.parametrize("dim", [3, 8, 32, 64, 80])
@pytest.mark.parametrize("kind", KINDS)
def test_counting_bits_gives_the_scores_of_the_signs_to_the_last_bit(kind, dim, tiny):
    split = split_for(kind, tiny)
    binary = codes.Binary(spread(model_for(kind, tiny, dim=dim)))
    users = users_of(binary.model, split)
    with torch.inference_mode():
        assert torch.equal(binary.scores(users), binary.packed_scores(users))


@pytest.mark.parametrize("kind", KINDS)
def test_codes_score_as_the_equation_says(kind, tiny):
    model = spread(model_for(kind, tiny, dim=5))
    users = users_of(model, split_for(kind, tiny))[:3]
    with torch.inference_mode():
        tastes, attention = model.represent(users)
        found = codes.Binary(model).scores(users)

    def product(x, y):
        return np.abs(x).mean() * np.abs(y).mean() * (np.where(x >= 0, 1, -1) @ np.where(y >= 0, 1, -1))

    for b in range(len(users)):
        for j in (1, 7, 40):
            e = model.item_vectors[j].detach().numpy()
            liking = np.array([product(u, e) for u in tastes[b].numpy()])
            gate = np.exp([product(a, e) for a in attention[b].numpy()]) if attention is not None else np.ones(1)
            assert found[b, j] == pytest.approx((liking * gate).sum() / gate.sum() + model.item_biases[j].item(), rel=1e-4, abs=1e-5)


def test_a_model_of_signs_is_its_own_binary_code(tiny):
    model = model_for("factorization", tiny, dim=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.where(torch.randn_like(parameter) >= 0, 1.0, -1.0))
        model.items.weight[0] = 0
        users = torch.arange(tiny.n_users)
        assert torch.equal(codes.Binary(model).scores(users), model.scores(users))


def test_codes_are_ranked_like_any_other_model(tiny):
    split = split_for("mixture_lstm", tiny)
    found = evaluation.sequence_reciprocal_ranks(codes.Binary(spread(model_for("mixture_lstm", tiny))), split.test)
    assert len(found) == len(split.test) and (found > 0).all() and (found <= 1).all()


@pytest.mark.parametrize("dim, printed", [(32, 0.091), (64, 0.062), (128, 0.047), (256, 0.039), (512, 0.035), (1024, 0.033)])
def test_the_memory_of_codes_is_that_of_the_2017_paper(dim, printed, tiny):
    item = codes.sizes(model_for("factorization", tiny, dim=dim))["item"]  # table 1 there: vector, scale and bias of each
    assert round(item["binary"] / item["real"], 3) == printed


@pytest.mark.parametrize("kind, dim, m", [("lstm", 64, 1), ("lstm", 20, 1), ("mixture_lstm", 64, 2), ("mixture_lstm", 64, 3)])
def test_sizes_are_those_of_the_arrays(kind, dim, m, tiny):
    model = model_for(kind, tiny, dim=dim, components=m)
    bits, scales = codes.packed(codes.signs(model.item_vectors)[0]), codes.signs(model.item_vectors)[1]
    n = len(model.item_vectors)
    assert codes.sizes(model)["item"]["binary"] * n == bits.nbytes + scales.nbytes + model.item_biases.nbytes
    assert codes.sizes(model)["item"]["real"] * n == model.item_vectors.nbytes + model.item_biases.nbytes
    assert codes.sizes(model)["user"]["real"] == (2 * m if kind == "mixture_lstm" else 1) * 4 * dim


@pytest.mark.parametrize("kind", KINDS)
def test_both_speeds_are_measured(kind, tiny):
    model = model_for(kind, tiny)
    found = codes.predictions_per_ms(model, users_of(model, split_for(kind, tiny)), rounds=1)
    assert set(found) == {"real", "binary"} and all(0 < value < float("inf") for value in found.values())
