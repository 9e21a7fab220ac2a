import numpy as np
import pytest
import torch
from scipy.special import softmax

from mixlib import models
from mixlib.models import build, score

MIXTURES = ("projection_mixture", "embedding_mixture", "mixture_lstm")


def draw(*shape):
    return torch.randn(*shape, dtype=torch.double)


def users_for(model):
    """Three users, or windows: one short, one full, one without any item."""
    return torch.tensor([[0, 0, 3, 5], [1, 2, 7, 1], [0, 0, 0, 0]]) if model.sequential else torch.tensor([0, 4, 4])


def slow_score(tastes, attention, vectors, biases):
    """Equation (1), one user and one item at a time."""
    scores = np.zeros((len(tastes), len(vectors)))
    for i in range(len(tastes)):
        for j in range(len(vectors)):
            weights = softmax([a @ vectors[j] for a in attention[i]])
            scores[i, j] = sum(w * (u @ vectors[j]) for w, u in zip(weights, tastes[i], strict=True)) + biases[j]
    return scores


def test_one_taste_is_a_plain_dot_product():
    tastes, vectors, biases = draw(2, 1, 3), draw(5, 3), draw(5)
    plain = tastes.squeeze(1) @ vectors.T + biases
    assert torch.allclose(score(tastes, None, vectors, biases), plain)
    assert torch.allclose(score(tastes, draw(2, 1, 3), vectors, biases), plain)  # nothing to attend to


def test_score_is_equation_1():
    parts = draw(3, 4, 2), draw(3, 4, 2), draw(6, 2), draw(6)
    np.testing.assert_allclose(score(*parts), slow_score(*(p.numpy() for p in parts)))


def test_identical_tastes_are_one_taste():
    taste, vectors, biases = draw(2, 1, 3), draw(5, 3), draw(5)
    assert torch.allclose(score(taste.expand(2, 4, 3), draw(2, 4, 3), vectors, biases), score(taste, None, vectors, biases))


def test_an_overwhelming_attention_leaves_one_taste():
    tastes, biases = draw(1, 2, 3), torch.zeros(4, dtype=torch.double)
    vectors = draw(4, 3).abs()
    attention = torch.stack([torch.full((3,), 1e4), torch.full((3,), -1e4)]).double().unsqueeze(0)
    assert torch.allclose(score(tastes, attention, vectors, biases), score(tastes[:, :1], None, vectors, biases))


def test_the_order_of_tastes_does_not_matter():
    tastes, attention, vectors, biases = draw(3, 4, 2), draw(3, 4, 2), draw(6, 2), draw(6)
    order = torch.tensor([2, 0, 3, 1])
    assert torch.allclose(score(tastes[:, order], attention[:, order], vectors, biases), score(tastes, attention, vectors, biases))


def test_a_constant_added_to_all_attention_changes_nothing():
    tastes, attention, vectors, biases = draw(3, 4, 2), draw(3, 4, 2), draw(6, 2), draw(6)
    assert torch.allclose(score(tastes, attention + draw(3, 1, 2), vectors, biases), score(tastes, attention, vectors, biases))


@pytest.mark.parametrize("m", [1, 3])
def test_own_candidates_score_as_they_do_among_all_items(m):
    tastes, attention, vectors, biases = draw(2, m, 3), draw(2, m, 3) if m > 1 else None, draw(7, 3), draw(7)
    candidates = torch.tensor([[1, 6, 6], [0, 2, 5]])
    among_all = score(tastes, attention, vectors, biases).gather(1, candidates)
    assert torch.allclose(score(tastes, attention, vectors[candidates], biases[candidates]), among_all)


def test_the_gradient_of_score_agrees_with_finite_differences():
    shared = draw(2, 3, 2), draw(2, 3, 2), draw(4, 2), draw(4)
    own = draw(2, 3, 2), draw(2, 3, 2), draw(2, 4, 2), draw(2, 4)
    for parts in (shared, own):
        assert torch.autograd.gradcheck(score, [p.requires_grad_() for p in parts])


@pytest.mark.parametrize("kind", models.KINDS)
class TestEveryModel:
    """The contract that all five kinds keep."""

    @pytest.mark.parametrize("components", [1, 3])
    def test_represents_users_as_tastes_and_attention(self, kind, components):
        model = build(kind, n_items=7, n_users=5, dim=4, components=components)
        m = components if kind in MIXTURES else 1
        tastes, attention = model.represent(users_for(model))
        assert tastes.shape == (3, m, 4)
        assert attention is None if m == 1 else attention.shape == (3, m, 4)
        assert model.item_vectors.shape == (8, 4) and model.item_biases.shape == (8,)
        scores = score(tastes, attention, model.item_vectors, model.item_biases)
        assert scores.shape == (3, 8) and scores.dtype == torch.float32 and scores.isfinite().all()

    def test_works_on_a_batch_of_one(self, kind):
        model = build(kind, n_items=7, n_users=5, dim=4, components=2)
        together, _ = model.represent(users_for(model))
        alone = torch.cat([model.represent(one)[0] for one in users_for(model).split(1)])
        assert torch.allclose(together, alone, atol=1e-6)

    def test_starts_with_padding_and_biases_at_zero(self, kind):
        model = build(kind, n_items=4000, n_users=5, dim=20)
        assert not model.item_vectors[0].any() and not model.item_biases.any()
        assert model.item_vectors[1:].std().item() == pytest.approx(1 / 20, rel=0.02)

    def test_candidate_j_of_user_i_is_scored_for_user_i(self, kind):
        model = build(kind, n_items=7, n_users=5, dim=4, components=2)
        model.biases.weight.data[1:] = torch.randn(7, 1)
        users = users_for(model)
        candidates = torch.tensor([[1, 2, 3], [7, 7, 1], [4, 5, 6], [2, 1, 3]])  # (c, b)
        scores = model.score_candidates(model.represent(users), candidates)
        assert scores.shape == (4, 3)
        for j in range(4):
            for i in range(3):
                alone = score(*model.represent(users[i : i + 1]), model.item_vectors, model.item_biases)[0, candidates[j, i]]
                assert scores[j, i].item() == pytest.approx(alone.item(), abs=1e-6)

    def test_is_drawn_from_the_global_seed(self, kind):
        torch.manual_seed(1)
        first = build(kind, 7, 5, dim=4).state_dict()
        torch.manual_seed(1)
        again = build(kind, 7, 5, dim=4).state_dict()
        other = build(kind, 7, 5, dim=4).state_dict()
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)

    @pytest.mark.parametrize("wrong", [{"components": 0}, {"dim": 0}, {"n_items": 0}, {"dim": 2.5}, {"n_users": 4.5}, {"components": "4"}])
    def test_refuses_sizes_that_are_no_whole_numbers_of_at_least_one(self, kind, wrong):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=rf"^{name} must be a whole number of at least 1, not {value!r}\.$"):
            build(kind, **({"n_items": 7, "n_users": 5} | wrong))


def test_the_tastes_of_embedding_mixture_start_m_times_smaller():
    model = build("embedding_mixture", n_items=2, n_users=4000, dim=8, components=5)
    assert model.represent(torch.arange(4000))[0].std().item() == pytest.approx(1 / 40, rel=0.02)


def test_gain_scales_the_projections():
    spread = []
    for gain in (1.0, 10.0):
        torch.manual_seed(0)
        spread.append(build("projection_mixture", 7, 5, dim=16, gain=gain).represent(torch.arange(5))[0].std().item())
    assert spread[1] == pytest.approx(10 * spread[0], rel=1e-4)


def test_an_unknown_model_is_an_error_that_suggests_one():
    with pytest.raises(ValueError, match="no model 'mixture_ltsm': did you mean 'mixture_lstm'"):
        build("mixture_ltsm", 7)


@pytest.mark.parametrize("kind", ["factorization", "projection_mixture", "embedding_mixture"])
def test_a_table_of_users_needs_their_number(kind):
    for none in (None, 0):
        with pytest.raises(ValueError, match="give n_users"):
            build(kind, 7, none)
    assert build(kind, 7, 1).scores(torch.tensor([0])).shape == (1, 8)


@pytest.mark.parametrize("kind", models.SEQUENTIAL)
class TestWindows:
    def test_more_padding_changes_no_representation(self, kind):
        model = build(kind, n_items=9, dim=4, components=2)
        windows = torch.tensor([[3, 5, 9, 1], [0, 0, 4, 2], [0, 0, 0, 0]])
        padded = torch.nn.functional.pad(windows, (6, 0))
        for ours, theirs in zip(model.represent(windows), model.represent(padded), strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)

    def test_every_position_is_represented_by_the_items_before_it_alone(self, kind):
        model = build(kind, n_items=9, dim=4, components=2)
        windows = torch.tensor([[0, 3, 5, 9], [0, 0, 0, 2], [7, 1, 8, 8], [0, 0, 0, 0]])
        (tastes, _), items, owners = model.represent_positions(windows)
        assert items.tolist() == [2, 3, 5, 9, 7, 1, 8, 8]  # the shortest window first
        assert owners.tolist() == [1, 0, 0, 0, 2, 2, 2, 2]
        before = [[0, 0, 0], [0, 0, 0], [0, 0, 3], [0, 3, 5], [0, 0, 0], [0, 0, 7], [0, 7, 1], [7, 1, 8]]
        assert torch.allclose(tastes, model.represent(torch.tensor(before))[0], atol=1e-6)

    def test_over_padding_the_zeros_count_as_steps(self, kind):
        clean, over = (drawn(kind, over_padding=over) for over in (False, True))
        windows = torch.tensor([[0, 0, 3, 5], [0, 0, 0, 0], [7, 1, 8, 2]])
        for i, window in enumerate(windows):
            state = None
            for vector in [torch.zeros(4), *over.item_vectors[window]]:  # a start step, then each place
                _, state = over.lstm(vector.view(1, 1, -1), state)
            by_hand = over.encoder(state[0][0])
            for ours, theirs in zip(over.represent(windows), by_hand, strict=True):
                assert ours is theirs is None or torch.allclose(ours[i], theirs[0], atol=1e-6)
        apart = (clean.represent(windows)[0] - over.represent(windows)[0]).abs().amax(dim=(1, 2))
        assert apart[0] > 1e-4 and apart[2] < 1e-6  # no padding, no difference

    def test_over_padding_training_meets_the_states_that_rank(self, kind):
        model = drawn(kind, over_padding=True)
        windows = torch.tensor([[0, 3, 5, 9], [0, 0, 0, 2], [7, 1, 8, 8], [0, 0, 0, 0]])
        (tastes, _), items, owners = model.represent_positions(windows)
        assert items.tolist() == [2, 3, 5, 9, 7, 1, 8, 8] and owners.tolist() == [1, 0, 0, 0, 2, 2, 2, 2]
        assert torch.allclose(tastes[[3, 0, 7]], model.represent(windows[:3, :-1])[0], atol=1e-6)
        assert torch.allclose(tastes[1], model.represent(torch.tensor([[0]]))[0][0], atol=1e-6)  # before the 3

    def test_the_order_of_items_matters(self, kind):
        model = build(kind, n_items=9, dim=4, components=2)
        tastes = model.represent(torch.tensor([[3, 5], [5, 3]]))[0]
        assert not torch.allclose(tastes[0], tastes[1], atol=1e-4)


def test_left_align_moves_only_padding():
    windows = torch.tensor([[0, 0, 3, 5], [1, 2, 7, 1], [0, 0, 0, 0], [0, 4, 4, 9]])
    assert models.left_align(windows).tolist() == [[3, 5, 0, 0], [1, 2, 7, 1], [0, 0, 0, 0], [4, 4, 9, 0]]


@pytest.mark.parametrize("over_padding", [False, True])
@pytest.mark.parametrize("window", [[5, 9, 0], [0, 5, 0, 2], [5, 0, 0, 0]])
def test_padding_after_an_item_is_an_error(window, over_padding):
    with pytest.raises(ValueError, match="padded with 0 on the left: no 0 may come after an item"):
        build("lstm", n_items=9, dim=4, over_padding=over_padding).scores(torch.tensor([window]))


def test_windows_run_with_those_of_up_to_twice_their_length():
    groups = models.alike(torch.tensor([5, 100, 1, 8, 9, 64, 0, 2]))
    assert [group.tolist() for group in groups] == [[6], [2], [7], [0, 3], [4], [5], [1]]


def test_rows_add_their_gradient_to_the_one_of_the_table():
    table = torch.nn.Parameter(torch.randn(5, 3))
    plain = table.detach().clone().requires_grad_()
    ids, others = torch.tensor([[1, 4], [4, 4]]), torch.tensor([0, 4])
    weights = torch.randn(2, 2, 3)
    for _ in range(2):  # gradients add up until they are cleared, within a step and over steps
        ((models.rows(table, ids) * weights).sum() + models.rows(table, others).square().sum()).backward()
        ((plain[ids] * weights).sum() + plain[others].square().sum()).backward()
    assert torch.allclose(table.grad, plain.grad)
    assert not table.grad[2:4].any()


def test_rows_of_a_table_that_is_computed_pass_their_gradient_on():
    base = torch.nn.Parameter(torch.randn(4, 2))
    models.rows(base * 3, torch.tensor([1, 1, 2])).sum().backward()
    assert torch.allclose(base.grad, torch.tensor([[0.0, 0], [6, 6], [3, 3], [0, 0]]))


def test_projections_have_biases_where_these_are_asked_for_and_no_other_model_has():
    plain, biased = (drawn("projection_mixture", bias=bias) for bias in (False, True))
    added = dict(biased.named_parameters()).keys() - dict(plain.named_parameters()).keys()
    assert sorted(added) == ["encoder.1.attention.bias", "encoder.1.tastes.bias"]
    users = torch.arange(5)
    assert torch.equal(plain.scores(users), biased.scores(users))  # they begin at 0, and move no random number
    biased.scores(users).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for name, parameter in biased.named_parameters() if name in added)
    with torch.no_grad():
        biased.encoder[1].tastes.bias += 1.0
    tastes, _ = biased.represent(users)
    assert torch.allclose(tastes, plain.represent(users)[0] + 1.0)
    for kind in set(models.KINDS) - {"projection_mixture"}:
        with pytest.raises(ValueError, match=rf"bias=True is for projection_mixture, not for {kind}\."):
            models.build(kind, n_items=9, n_users=5, bias=True)


@pytest.mark.parametrize("kind", [kind for kind in models.KINDS if kind not in models.SEQUENTIAL])
def test_a_model_without_windows_has_no_padding_to_run_over(kind):
    with pytest.raises(ValueError, match=rf"over_padding=True is for lstm and mixture_lstm, not for {kind}\."):
        build(kind, n_items=9, n_users=5, over_padding=True)


def drawn(kind, **given):
    torch.manual_seed(0)
    return models.build(kind, n_items=9, n_users=5, dim=4, components=2, **given)
