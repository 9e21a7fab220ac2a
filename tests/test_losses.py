import numpy as np
import pytest
import torch
from conftest import model_for, split_for
from scipy.special import expit

from mixlib import losses, models, training

FORMULAS = {
    "bpr": lambda p, n: 1 - expit(p - n),
    "log_bpr": lambda p, n: -np.log(expit(p - n)),
    "hinge": lambda p, n: max(0.0, 1 - p + n),
}


def adaptive(p, candidates):
    """One after the other, until one violates the margin."""
    return next((1 - p + n for n in candidates if 1 - p + n > 0), 0.0)


def hardest(p, candidates):
    return max(0.0, 1 - p + max(candidates))


def draw(*shape):
    return 2 * torch.randn(*shape, dtype=torch.double)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("name", FORMULAS)
def test_losses_have_the_values_of_their_formulas(name, k):
    positive, negatives = draw(6), draw(k, 6)
    expected = [np.mean([FORMULAS[name](p.item(), n.item()) for n in negatives[:, i]]) for i, p in enumerate(positive)]
    np.testing.assert_allclose(getattr(losses, name)(positive, negatives), expected)


@pytest.mark.parametrize(("worst", "formula"), [(False, adaptive), (True, hardest)])
def test_adaptive_hinge_has_the_value_of_its_formula(worst, formula):
    positive, negatives = draw(50) + 2, draw(5, 50)
    expected = [formula(p.item(), negatives[:, i].tolist()) for i, p in enumerate(positive)]
    assert 0.0 in expected and max(expected) > 0  # both cases occur
    np.testing.assert_allclose(losses.adaptive_hinge(positive, negatives, hardest=worst), expected)


@pytest.mark.parametrize(
    ("candidates", "first", "worst"),
    [
        ([-3.0, -2.0, -1.5], 0.0, 0.0),  # none violates
        ([-3.0, -0.75, 4.0], 0.25, 5.0),  # the first that does, not the worst
        ([-1.0, -1.0, -1.0], 0.0, 0.0),  # on the margin is not within it
        ([-1.0, 4.0, 0.5], 5.0, 5.0),  # and does not hide the first one within it
        ([2.0, 2.0, 1.0], 3.0, 3.0),
    ],
)
def test_the_first_violator_counts_and_hardest_takes_the_worst(candidates, first, worst):
    positive, negatives = torch.zeros(1), torch.tensor(candidates).unsqueeze(1)
    assert losses.adaptive_hinge(positive, negatives).tolist() == [first]
    assert losses.adaptive_hinge(positive, negatives, hardest=True).tolist() == [worst]


@pytest.mark.parametrize("loss", [losses.bpr, losses.log_bpr, losses.hinge, losses.adaptive_hinge])
def test_negatives_j_i_belongs_to_positive_i(loss):
    positive, negatives = draw(3), draw(3, 3)  # square: the wrong way round would pass unnoticed
    alone = [loss(positive[i : i + 1], negatives[:, i : i + 1]).item() for i in range(3)]
    np.testing.assert_allclose(loss(positive, negatives), alone)
    other = negatives.clone()
    other[:, 1] += 3
    changed = loss(positive, other) != loss(positive, negatives)
    assert not changed[0] and changed[1] and not changed[2]


def test_losses_keep_the_shape_of_the_positives():
    positive, negatives = draw(2, 3, 4), draw(5, 2, 3, 4)
    for loss in (losses.bpr, losses.log_bpr, losses.hinge, losses.adaptive_hinge):
        assert loss(positive, negatives).shape == (2, 3, 4)
        assert torch.allclose(loss(positive, negatives).flatten(), loss(positive.flatten(), negatives.flatten(1)))


@pytest.mark.parametrize("shape", [(3, 5), (3,), (0, 3), (5, 3, 1), (5, 1), (5, 4)])
@pytest.mark.parametrize("loss", [losses.bpr, losses.log_bpr, losses.hinge, losses.adaptive_hinge])
def test_negatives_of_another_shape_are_an_error(loss, shape):
    with pytest.raises(ValueError, match=r"negatives must have the shape \(k, \*\(3,\)\)"):
        loss(draw(3), draw(*shape))


@pytest.mark.parametrize("name", ["bpr", "log_bpr", "hinge", "adaptive_hinge", "hardest"])
def test_gradients_agree_with_finite_differences(name):
    positive, negatives = draw(6).requires_grad_(), draw(3, 6).requires_grad_()

    def loss(p, n):
        return losses.adaptive_hinge(p, n, hardest=True) if name == "hardest" else getattr(losses, name)(p, n)

    assert torch.autograd.gradcheck(loss, (positive, negatives))


def test_log_bpr_survives_hopeless_scores():
    assert losses.log_bpr(torch.tensor([-1e4]), torch.tensor([[1e4]])).tolist() == [2e4]


def batch_of(kind, tiny):
    train = split_for(kind, tiny).train
    return torch.as_tensor(train.users[:8]), torch.as_tensor(train.items[:8])


def gradients(model, users, items, loss):
    """Loss and gradients with k = 5 negatives that depend on nothing but the number of positives."""
    n_items = model.n_items
    model.zero_grad()

    def candidates(users, items):
        drawn = torch.randint(1, n_items + 1, (5, len(users)), generator=torch.Generator().manual_seed(3))
        return torch.cat([items.unsqueeze(0), drawn])

    value = training._batch_loss(model, users, items, candidates, loss)
    value.backward()
    return value.item(), {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", ["adaptive_hinge", "hardest"])
@pytest.mark.parametrize("kind", models.KINDS)
def test_scoring_only_the_negative_that_counts_changes_no_loss_and_no_gradient(kind, name, tiny):
    model = model_for(kind, tiny).double()
    model.items.weight.data[1:] *= 8  # spread the scores: some violate the margin, some do not
    plain = losses.Loss(lambda p, n: losses.adaptive_hinge(p, n, hardest=name == "hardest"), 5)
    value, found = gradients(model, *batch_of(kind, tiny), losses.LOSSES[name])
    expected, wanted = gradients(model, *batch_of(kind, tiny), plain)
    assert value == pytest.approx(expected) and value > 0
    for parameter in wanted:
        assert torch.allclose(found[parameter], wanted[parameter], atol=1e-12), parameter


@pytest.mark.parametrize("name", losses.LOSSES)
@pytest.mark.parametrize("kind", models.SEQUENTIAL)
def test_more_padding_changes_no_loss_and_no_gradient(kind, name, tiny):
    model = model_for(kind, tiny).double()
    users, items = batch_of(kind, tiny)
    value, found = gradients(model, users, items, losses.LOSSES[name])
    expected, wanted = gradients(model, users, torch.nn.functional.pad(items, (9, 0)), losses.LOSSES[name])
    assert value == pytest.approx(expected)
    for parameter in wanted:
        assert torch.allclose(found[parameter], wanted[parameter], atol=1e-12), parameter
