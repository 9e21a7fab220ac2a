import numpy as np
import pytest
import torch
from conftest import model_for, popularity_model, split_for, with_biases
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import bootstrap, rankdata, wilcoxon

from mixlib import codes, evaluation, models, references, splits, synthetic
from mixlib.datasets import Interactions
from mixlib.evaluation import compare, interaction_ranks, interval, sequence_ranks, target_ranks, user_metrics
from mixlib.splits import Sequences, Split

FACTORIZATION = tuple(kind for kind in models.KINDS if kind not in models.SEQUENTIAL)


def all_scores(model, who):
    with torch.inference_mode():
        return models.score(*model.represent(torch.as_tensor(who)), model.item_vectors, model.item_biases).numpy()


def rank_among(scores, candidates, target):
    """The oracle: the rank of the target among the candidates, the highest score first, by scipy."""
    candidates = sorted(candidates)
    return rankdata(-scores[candidates])[candidates.index(target)]


def tied(kind, interactions):
    """A model whose parameters are whole numbers, so that many scores tie."""
    model = model_for(kind, interactions, dim=2, components=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape))
        model.items.weight[0], model.biases.weight[0] = 0, 0
    return model


# --- target_ranks


@st.composite
def rankings(draw):
    b, n = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    scores = draw(hnp.arrays(np.float32, (b, n), elements=st.sampled_from([-np.inf, -1, 0, 1])))
    targets = draw(hnp.arrays(np.int64, b, elements=st.integers(0, n - 1)))
    return scores, targets, draw(hnp.arrays(bool, (b, n)))


@given(rankings())
def test_ranks_are_scipys_average_ranks_among_the_candidates(ranking):
    scores, targets, excluded = ranking
    expected = [rank_among(scores[i], {*np.flatnonzero(~excluded[i]).tolist(), t}, t) for i, t in enumerate(targets.tolist())]
    found = target_ranks(*map(torch.as_tensor, ranking))
    assert found.tolist() == expected
    assert target_ranks(torch.as_tensor(scores), torch.as_tensor(targets)).tolist() == [
        rankdata(-scores[i])[t] for i, t in enumerate(targets)
    ]


@given(rankings())
def test_counting_as_on_a_gpu_gives_the_same_ranks(ranking):
    scores, targets, _ = map(torch.as_tensor, ranking)
    twice, nan = evaluation._counted(scores, scores.gather(1, targets.unsqueeze(1)))
    assert (1 + (twice[:, 0] - 1) / 2).tolist() == target_ranks(scores, targets).tolist() and not nan
    scores[0, 0] = torch.nan
    assert evaluation._counted(scores, scores[:, :1])[1]


def test_a_constant_model_gets_the_middle_rank():
    assert target_ranks(torch.zeros(2, 9), torch.tensor([0, 8])).tolist() == [5.0, 5.0]


def test_the_best_rank_is_one_and_the_worst_is_n():
    assert target_ranks(torch.tensor([[3.0, 2.0, 1.0]] * 2), torch.tensor([0, 2])).tolist() == [1.0, 3.0]


def test_the_target_is_never_excluded():
    everything = torch.ones(1, 4, dtype=torch.bool)
    assert target_ranks(torch.randn(1, 4), torch.tensor([2]), everything).tolist() == [1.0]


def test_a_target_at_minus_infinity_ties_with_candidates_alone():
    scores, target = torch.tensor([[-torch.inf, 2.0, -torch.inf, -torch.inf, 1.0]]), torch.tensor([3])
    assert target_ranks(scores, target).tolist() == [4.0]
    assert target_ranks(scores, target, torch.tensor([[True, True, False, False, False]])).tolist() == [2.5]


def test_ranks_leave_the_scores_alone():
    scores = torch.randn(2, 5)
    before = scores.clone()
    target_ranks(scores, torch.tensor([1, 2]), torch.rand(2, 5) > 0.5)
    assert torch.equal(scores, before)


def test_nan_has_no_rank(tiny):
    scores = torch.tensor([[0.0, torch.nan, 1.0]])
    for target in (0, 1):
        with pytest.raises(ValueError, match="NaN"):
            target_ranks(scores, torch.tensor([target]))
    biases = np.zeros(41)
    biases[7] = np.nan
    for kind, ranks in (("lstm", sequence_ranks), ("factorization", interaction_ranks)):
        split = split_for(kind, tiny)
        with pytest.raises(ValueError, match="NaN"):
            ranks(with_biases(kind, tiny, biases), split.test if kind == "lstm" else split)


# --- interactions


def slow_interaction_ranks(model, split, part):
    """One user and one item at a time; {user: ranks in ascending order of item id}."""
    held, other = getattr(split, part), split.test if part == "validation" else split.validation
    users = np.unique(held.users)
    found = {}
    for user, scores in zip(users.tolist(), all_scores(model, users), strict=True):
        known = {*split.train.items[split.train.users == user].tolist(), *other.items[other.users == user].tolist()}
        candidates = set(range(1, held.n_items + 1)) - known
        found[user] = [rank_among(scores, candidates, target) for target in sorted(held.items[held.users == user].tolist())]
    return found


@pytest.mark.parametrize("part", ["validation", "test"])
@pytest.mark.parametrize("kind", FACTORIZATION)
@pytest.mark.parametrize("make", [tied, model_for])
def test_interaction_ranks_agree_with_ranking_one_user_at_a_time(make, kind, part, tiny):
    split, model = splits.random_split(tiny, (0.6, 0.2, 0.2)), make(kind, tiny)
    found, expected = interaction_ranks(model, split, part), slow_interaction_ranks(model, split, part)
    assert found.users.tolist() == list(expected)
    for ranks, wanted in zip(found.ranks, expected.values(), strict=True):
        assert ranks[np.isfinite(ranks)].tolist() == ranks[: len(wanted)].tolist() == wanted
    if make is tied and kind == "factorization":
        assert (found.ranks % 1 == 0.5).any()  # there were ties


def hand_made():
    """One user: train has item 1, validation item 2, test items 3 and 5; item 4 is never met."""

    def part(*items):
        return Interactions(np.zeros(len(items), int), np.array(items), n_users=2, n_items=5)

    return Split(part(1), part(2), part(5, 3))


def test_known_items_leave_the_ranking_and_other_held_out_items_stay():
    model = with_biases("factorization", hand_made().train, [99.0, 9.0, 8.0, 5.0, 6.0, 7.0])
    assert interaction_ranks(model, hand_made(), "test").ranks.tolist() == [[3.0, 1.0]]  # items 3 and 5 among 3, 4, 5
    assert interaction_ranks(model, hand_made(), "validation").ranks.tolist() == [[1.0]]  # item 2 among 2 and 4
    assert evaluation.interaction_reciprocal_ranks(model, hand_made()).tolist() == [pytest.approx((1 / 3 + 1) / 2)]


def test_users_without_items_in_the_part_have_no_value():
    assert interaction_ranks(with_biases("factorization", hand_made().train, [0.0] * 6), hand_made()).users.tolist() == [0]
    empty = Split(hand_made().train, hand_made().validation, hand_made().test.take(np.array([], int)))
    assert len(interaction_ranks(with_biases("factorization", empty.train, [0.0] * 6), empty).users) == 0


def test_a_constant_model_ranks_interactions_in_the_middle(tiny):
    split = splits.random_split(tiny)
    ranks = interaction_ranks(with_biases("factorization", tiny, np.zeros(41)), split)
    for user, mine in zip(ranks.users, ranks.ranks, strict=True):
        known = sum((part.users == user).sum() for part in (split.train, split.validation))
        assert set(mine[np.isfinite(mine)]) == {(40 - known + 1) / 2}


# --- sequences


def slow_sequence_ranks(model, sequences):
    found = []
    for scores, (*context, target) in zip(all_scores(model, sequences.items[:, :-1]), sequences.items.tolist(), strict=True):
        found.append(rank_among(scores, set(range(1, sequences.n_items + 1)) - set(context) | {target}, target))
    return found


@pytest.mark.parametrize("kind", models.SEQUENTIAL)
@pytest.mark.parametrize("make", [tied, model_for])
def test_sequence_ranks_agree_with_ranking_one_window_at_a_time(make, kind, tiny):
    sequences = splits.windows(tiny, 15, 3)
    assert any(target in context for *context, target in sequences.items.tolist())  # some targets come again
    model = make(kind, tiny)
    assert sequence_ranks(model, sequences).tolist() == slow_sequence_ranks(model, sequences)


def test_the_context_leaves_the_ranking_unless_it_is_the_target():
    biases = [99.0, 9.0, 8.0, 5.0, 6.0, 7.0]
    sequences = Sequences(np.array([[0, 1, 2, 3], [0, 0, 0, 3], [0, 3, 1, 3]]), np.arange(3), n_items=5, n_users=3)
    model = with_biases("lstm", Interactions(np.array([0]), np.array([5])), biases)
    assert sequence_ranks(model, sequences).tolist() == [3.0, 5.0, 4.0]
    assert evaluation.sequence_reciprocal_ranks(model, sequences) == pytest.approx([1 / 3, 1 / 5, 1 / 4])


def test_no_windows_have_no_ranks(tiny):
    assert sequence_ranks(model_for("lstm", tiny), splits.windows(tiny, 500, 500)).shape == (0,)


@pytest.mark.parametrize("kind", models.SEQUENTIAL)
def test_more_padding_changes_no_rank(kind, tiny):
    sequences, model = splits.windows(tiny, 15, 3), model_for(kind, tiny)
    padded = Sequences(np.pad(sequences.items, ((0, 0), (7, 0))), sequences.users, sequences.n_items, sequences.n_users)
    np.testing.assert_array_equal(sequence_ranks(model, padded), sequence_ranks(model, sequences))


@pytest.mark.parametrize("kind", models.KINDS)
def test_ranks_ignore_the_score_of_padding(kind, tiny):
    split, model = split_for(kind, tiny), model_for(kind, tiny)
    ranks = (lambda: sequence_ranks(model, split.test)) if model.sequential else (lambda: interaction_ranks(model, split).ranks)
    before = ranks()
    model.biases.weight.data[0] = 1e6
    np.testing.assert_array_equal(ranks(), before)


@pytest.mark.parametrize("chunk", [1, 3000, 20_000])
@pytest.mark.parametrize("kind", models.KINDS)
def test_ranks_do_not_depend_on_how_users_are_batched(kind, chunk, tiny, monkeypatch):
    split, model = split_for(kind, tiny), model_for(kind, tiny)
    ranks = (lambda: sequence_ranks(model, split.train)) if model.sequential else (lambda: interaction_ranks(model, split).ranks)
    together = ranks()
    monkeypatch.setattr(evaluation, "CHUNK_BYTES", chunk)
    np.testing.assert_array_equal(ranks(), together)


def test_ranks_do_not_depend_on_the_order_of_rows(tiny):
    model, split = model_for("embedding_mixture", tiny), splits.random_split(tiny)
    mixed = Split(*(part.take(np.random.default_rng(0).permutation(len(part))) for part in (split.train, split.validation, split.test)))
    np.testing.assert_array_equal(interaction_ranks(model, mixed).ranks, interaction_ranks(model, split).ranks)
    lstm, windows = model_for("lstm", tiny), splits.windows(tiny, 15, 3)
    order = np.random.default_rng(0).permutation(len(windows))
    moved = Sequences(windows.items[order], windows.users[order], windows.n_items, windows.n_users)
    np.testing.assert_array_equal(sequence_ranks(lstm, moved), sequence_ranks(lstm, windows)[order])


def test_popularity_beats_its_opposite():
    split = splits.random_split(synthetic.generate(users=300, items=300, tastes=2, clusters=5, skew=1.2, length=15))
    popular = popularity_model("factorization", split)
    rare = with_biases("factorization", split.train, -popular.item_biases.detach().numpy())
    mean = {model: np.nanmean(interaction_ranks(model, split).ranks) for model in (popular, rare)}
    assert mean[popular] < 0.6 * mean[rare]


@pytest.mark.parametrize("kind", models.KINDS)
def test_targets_at_minus_infinity_tie_with_candidates_alone(kind, tiny):
    """Not with padding, nor with what is out of the ranking, which is marked so."""
    model, split = with_biases(kind, tiny, np.where(np.arange(41) % 3, -np.inf, 0)), split_for(kind, tiny)
    if model.sequential:
        assert sequence_ranks(model, split.train).tolist() == slow_sequence_ranks(model, split.train)
        return
    found, expected = interaction_ranks(model, split), slow_interaction_ranks(model, split, "test")
    assert [ranks[np.isfinite(ranks)].tolist() for ranks in found.ranks] == [*expected.values()]


# --- metrics


def test_metrics_of_hand_made_ranks():
    none = np.nan
    metrics = user_metrics(np.array([[1.0, 4.0, 20.0], [2.5, none, none], [11.0, 10.5, none], [3.0, 1.0, 2.0]]))
    log = np.log2
    assert metrics["mrr"] == pytest.approx([(1 + 1 / 4 + 1 / 20) / 3, 1 / 2.5, (1 / 11 + 1 / 10.5) / 2, (1 + 1 / 2 + 1 / 3) / 3])
    assert metrics["first_hit_mrr"] == pytest.approx([1, 1 / 2.5, 1 / 10.5, 1])
    assert metrics["recall_at_10"] == pytest.approx([2 / 3, 1, 0, 1])
    ideal = 1 + 1 / log(3) + 1 / log(4)
    assert metrics["ndcg_at_10"] == pytest.approx([(1 + 1 / log(5)) / ideal, 1 / log(3.5), 0, 1])


def test_a_perfect_order_of_more_than_ten_items_has_an_ndcg_of_one():
    metrics = user_metrics(np.arange(1.0, 16).reshape(1, 15))
    assert metrics["ndcg_at_10"] == pytest.approx([1]) and metrics["recall_at_10"] == pytest.approx([10 / 15])


@given(
    hnp.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 13)), elements=st.integers(2, 80).map(lambda r: r / 2)), st.integers(0, 5)
)
def test_metrics_lie_between_0_and_1_and_ignore_nan(ranks, extra):
    metrics = user_metrics(np.pad(ranks, ((0, 0), (0, extra)), constant_values=np.nan))
    for name, values in user_metrics(ranks).items():
        np.testing.assert_allclose(metrics[name], values)
        if name != "ndcg_at_10":  # which needs ranks that can occur together
            assert (values >= 0).all() and (values <= 1).all()


def test_values_of_a_user_are_averaged():
    assert evaluation.by_user(np.array([1.0, 5.0, 3.0]), np.array([7, 2, 7])).tolist() == [5.0, 2.0]


# --- intervals and comparisons


def clustered(random, users=50):
    """Windows of users whose levels differ: the values, and whose they are; their mean is 0."""
    owners = np.repeat(np.arange(users), random.integers(1, 6, users))
    return random.normal(size=users)[owners] + 0.5 * random.normal(size=len(owners)), owners


def test_intervals_cover_the_truth_and_equal_models_are_rarely_told_apart():
    random = np.random.default_rng(0)
    found = [compare(values, np.zeros_like(values), owners) for values, owners in (clustered(random) for _ in range(200))]
    assert 0.88 <= np.mean([c.low <= 0 <= c.high for c in found]) <= 0.99  # 95% are promised
    assert 0.01 <= np.mean([c.decided for c in found]) <= 0.12
    p_values = np.array([c.p_value for c in found])
    assert np.mean(p_values < 0.05) <= 0.12 and 0.35 <= np.mean(p_values < 0.5) <= 0.65


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("n", [2, 3, 200, 1000])
def test_the_interval_is_scipys_bootstrap_of_users(n, kept, monkeypatch):
    monkeypatch.setattr(evaluation, "_KEPT", 10_000 * kept)
    drawn = np.random.default_rng(n)
    users = np.r_[np.arange(n), drawn.integers(0, n, 2 * n)]  # some have one value, some many
    values = drawn.random(3 * n)
    sums, counts = np.bincount(users, values), np.bincount(users)
    oracle = bootstrap((sums, counts), lambda a, b, axis: a.sum(axis) / b.sum(axis), paired=True, method="percentile",
                             n_resamples=evaluation.RESAMPLES, rng=np.random.default_rng(0)).confidence_interval  # fmt: skip
    assert interval(values, users) == pytest.approx(tuple(oracle), rel=1e-12)
    shuffled = drawn.permutation(3 * n)
    assert interval(values[shuffled], users[shuffled]) == pytest.approx(tuple(oracle), rel=1e-12)


def test_intervals_resample_users_and_not_windows():
    values, owners = clustered(np.random.default_rng(1))
    once, twice = interval(values, owners), interval(np.tile(values, 4), np.tile(owners, 4))
    assert twice == pytest.approx(once)
    naive = interval(np.tile(values, 4))
    assert naive[1] - naive[0] < 0.7 * (once[1] - once[0])


def test_more_users_give_a_shorter_interval_and_a_higher_level_a_longer_one():
    values = np.random.default_rng(0).normal(size=1600)
    few, many = interval(values[:100]), interval(values)
    assert (many[1] - many[0]) == pytest.approx((few[1] - few[0]) / 4, rel=0.3)
    sure = interval(values, level=0.99)
    assert sure[0] < many[0] < values.mean() < many[1] < sure[1]


def test_one_user_has_no_spread():
    assert interval(np.array([0.2, 0.4]), np.array([3, 3])) == (pytest.approx(0.3),) * 2


def test_the_seed_fixes_the_interval():
    values = np.random.default_rng(0).normal(size=30)
    assert interval(values) == interval(values) != interval(values, seed=1)


def test_a_real_difference_is_found():
    random = np.random.default_rng(2)
    theirs, owners = clustered(random, 200)
    found = compare(theirs + 0.3 + 0.5 * random.normal(size=len(theirs)), theirs, owners, level=0.999)
    assert found.decided and found.p_value < 1e-3 and found.low < 0.3 < found.high
    assert found.difference == pytest.approx(0.3, abs=0.15)


def test_equal_values_are_no_difference():
    values = np.random.default_rng(0).random(20)
    found = compare(values, values.copy())
    assert (found.difference, found.low, found.high, found.p_value, found.decided) == (0, 0, 0, 1, False)


def test_swapping_the_sides_turns_the_sign():
    ours, theirs = np.random.default_rng(0).random((2, 40))
    assert compare(ours, theirs).difference == -compare(theirs, ours).difference
    assert compare(ours, theirs).p_value == compare(theirs, ours).p_value
    assert compare(ours, theirs).rank_biserial == -compare(theirs, ours).rank_biserial


def test_rank_biserial_is_the_share_of_ranks_that_gain_less_that_which_loses():
    gain = np.array([0.0, 3.0, -1.0, 2.0, -4.0, 0.5])  # ranks by size: +1, -2, +3, +4, -5 of 15
    assert compare(gain, np.zeros(6)).rank_biserial == pytest.approx(1 / 15)
    positive = wilcoxon(gain[gain != 0], alternative="greater").statistic  # the sum of ranks with a gain
    assert compare(gain, np.zeros(6)).rank_biserial == pytest.approx(2 * positive / 15 - 1)
    assert compare(np.arange(1.0, 5), np.zeros(4)).rank_biserial == 1 and compare(np.zeros(3), np.zeros(3)).rank_biserial == 0
    users = np.array([0, 0, 1])
    assert compare(np.array([1.0, -2.0, 4.0]), np.zeros(3), users).rank_biserial == pytest.approx(1 / 3)  # users' means -0.5 and 4


def test_sides_of_different_length_are_an_error():
    with pytest.raises(ValueError, match=r"the same users on both sides, not \(3,\) and \(2,\)"):
        compare(np.zeros(3), np.zeros(2))


def test_a_model_and_data_that_do_not_belong_together_cannot_be_ranked(tiny):
    pairs, windows = splits.random_split(tiny), splits.sequence_split(tiny, 20, 5)
    plain, lstm = (models.build(kind, tiny.n_items, tiny.n_users, dim=4) for kind in ("factorization", "lstm"))
    other, fewer = (models.build("factorization", tiny.n_items + more, tiny.n_users - 1 + more, dim=4) for more in (1, 0))
    for wrong, message in (
        (lambda: interaction_ranks(plain, windows), "this function ranks interactions, not Sequences: take the other one"),
        (lambda: sequence_ranks(lstm, pairs.test), "this function ranks windows of interactions, not Interactions: take the other one"),
        (lambda: interaction_ranks(lstm, pairs), "lstm cannot rank interactions"),
        (lambda: sequence_ranks(plain, windows.test), "factorization cannot rank windows of interactions"),
        (lambda: interaction_ranks(other, pairs), "the model was built for 41 items, but the data have 40"),
        (lambda: interaction_ranks(plain, pairs, "train"), "no part 'train'"),
        (lambda: sequence_ranks(lstm, windows), "this function ranks windows of interactions, not Split"),
        (lambda: interaction_ranks(plain, pairs.test), "this function ranks a part of a Split, not Interactions"),
        (lambda: interaction_ranks(codes.Binary(lstm), pairs), "cannot rank interactions"),
        (lambda: interaction_ranks(references.fit(windows, "popularity"), pairs), "cannot rank interactions"),
        (lambda: interaction_ranks(fewer, pairs), "the model was built for fewer users than the 60 of the data"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()
