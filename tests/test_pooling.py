"""Means over data sets: against published values, and against simulated data sets whose true mean effect is known."""

from dataclasses import replace

import numpy as np
import pytest

from mixlib import labels, outcomes, pooling, prose
from mixlib.evidence import share_corrected
from mixlib.pooling import pool
from mixlib.studies import STUDIES

# log risk ratios of 13 trials of BCG vaccine, and their variances (Colditz et al. 1994), as R's metafor has them
EFFECTS = (-0.8893, -1.5854, -1.3481, -1.4416, -0.2175, -0.7861, -1.6209, 0.0120, -0.4694, -1.3713, -0.3394, 0.4459, -0.0173)
VARIANCES = (0.3256, 0.1946, 0.4154, 0.0200, 0.0512, 0.0069, 0.2230, 0.0040, 0.0564, 0.0730, 0.0124, 0.5325, 0.0714)


def test_a_well_known_meta_analysis_comes_out():
    found = pool(EFFECTS, np.sqrt(VARIANCES))
    assert found.spread**2 == pytest.approx(0.3181, abs=2e-4)  # metafor, method="PM"
    assert np.square(found.spread_bounds) == pytest.approx((0.1197, 1.1115), abs=1e-3)  # metafor, confint
    assert found.mean == pytest.approx(-0.715, abs=1e-3) and found.bounds == pytest.approx((-1.110, -0.320), abs=3e-3)


def test_effects_that_agree_are_weighed_by_their_errors_alone():
    found = pool([0.01, 0.02, 0.015], [0.01, 0.02, 0.01])
    weights = np.array([1, 0.25, 1])
    assert found.spread == found.spread_bounds[0] == 0 and found.mean == pytest.approx(np.average([0.01, 0.02, 0.015], weights=weights))
    half = 4.3027 * 0.01 / np.sqrt(weights.sum())  # Student's t with two degrees of freedom
    assert found.bounds == pytest.approx((found.mean - half, found.mean + half), abs=1e-6)
    assert found.another[0] < found.bounds[0] and found.bounds[1] < found.another[1]
    same = pool([0.01] * 4, [0.01] * 4)
    assert (same.mean, same.spread, same.spread_bounds) == (pytest.approx(0.01), 0, (0, 0))


@pytest.mark.parametrize(
    ("effects", "errors", "said"),
    [
        ([0.1, 0.2], [0.1, 0.1], "2 effects are too few to be pooled: at least 3"),
        ([0.1, 0.2, 0.3], [0.1, 0.0, 0.1], "standard errors finite and above 0"),
        ([0.1, np.nan, 0.3], [0.1, 0.1, 0.1], "effects must be finite"),
        ([0.1, 0.2, 0.3], [0.1, np.inf, 0.1], "effects must be finite, and their standard errors finite"),
    ],
)
def test_what_cannot_be_pooled_is_refused(effects, errors, said):
    with pytest.raises(ValueError, match=said):
        pool(effects, errors)


@pytest.mark.parametrize(
    ("spread", "mean", "another"),
    [(0.0, (0.98, 1), (0.98, 1)), (0.05, (0.87, 0.94), (0.80, 0.89)), (0.1, (0.85, 0.92), (0.80, 0.89)), (0.3, (0.90, 0.96), (0.91, 0.97))],
)
def test_how_often_the_intervals_of_five_data_sets_hold_the_true_mean_and_one_more_data_set(spread, mean, another):
    """Rather too often where data sets are alike, too rarely where they differ by about the errors: the page Set-up says so."""
    random, held = np.random.default_rng(3), []
    errors = np.array([0.02, 0.07, 0.10, 0.17, 0.18])  # about those of the sequence models of the book
    for _ in range(600):
        truths = random.normal(0.05, spread, 6)
        found = pool(random.normal(truths[:5], errors), errors)
        held.append([low <= true <= high for true, (low, high) in ((0.05, found.bounds), (truths[5], found.another))])
    for share, (least, most) in zip(np.mean(held, axis=0), (mean, another), strict=True):
        assert least <= share <= most  # 600 repeats: sd 0.012


def test_a_table_shows_how_far_data_sets_that_differ_lie_apart_and_what_one_of_them_changes(monkeypatch):
    effects, errors = np.array([0.5, -0.1, 0.2, 0.05]), np.array([0.1, 0.05, 0.2, 0.08])
    one = pooling.Together("sequences", "mixture_lstm", "lstm", list("abcd"), effects, errors, [20, 4, 5, 8], 20, [])
    assert one.without_one == [pool(np.delete(effects, i), np.delete(errors, i)) for i in range(4)]
    begins, ends = zip(*(np.expm1(mean.bounds) for mean in one.without_one), strict=True)
    assert one.range_without_one == f"begins at {min(begins):+.0%} to {max(begins):+.0%}, ends at {min(ends):+.0%} to {max(ends):+.0%}"
    monkeypatch.setattr(pooling, "comparisons", lambda _: [one])
    (row,) = pooling.table({}).to_dict("records")
    spread, low, high = np.expm1([one.mean.spread, *one.mean.spread_bounds])
    assert row["spread between data sets [95%]"] == f"{spread:.0%} [{low:.0%}, {high:.0%}]" and spread > 0.1
    assert row["on another data set [95%]"] == labels.share_bounds(*np.expm1(one.mean.another))
    assert row["trials"] == "4 to 20 of 20; below 5 on 1"
    (numbers,) = pooling.means({}).to_dict("records")
    assert (numbers["datasets"], numbers["trials"]) == (4, 4)
    assert (numbers["another low"], numbers["another high"]) == tuple(np.expm1(one.mean.another))
    assert [numbers[name] for name in ("spread", "spread low", "spread high")] == [one.mean.spread, *one.mean.spread_bounds]


def test_shares_are_pooled_where_both_models_have_several_seeds(ledger):
    results = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"]
    lone = replace(results, outcomes={arm: replace(one, by_seed=one.by_seed[:1]) for arm, one in results.outcomes.items()})
    found = {(name, "sequences"): results for name in ("a", "b", "c")} | {("d", "sequences"): lone}
    compared = ("sequences", "mixture_lstm", "lstm")
    one = pooling.together(found, *compared)
    relative = results.outcomes["mixture_lstm"].mrr / results.outcomes["lstm"].mrr - 1
    assert one.names == ["a", "b", "c"] and np.expm1(one.mean.mean) == pytest.approx(relative) and one.mean.spread == 0
    low, high = np.expm1(one.mean.bounds)
    said = f"{relative:+.0%} [{low:+.0%}, {high:+.0%}]"
    assert str(one) == f"{said} of the MRR over 3 data sets, 3 of them with fewer than 5 search trials" and one.without_one == []
    assert pooling.together({("a", "sequences"): results, ("b", "sequences"): results}, *compared) is None
    assert pooling.together(found, "factorization", "embedding_mixture", "factorization") is None
    (row,) = pooling.table(found).to_dict("records")
    assert row["mean gain, % of the MRR [95%]"] == said and row["its interval with one of them left out"] == "too few are left"
    assert (row["data sets"], row["trials"], row["printed in 2018"]) == (3, "2 of 20; below 5 on 3", "+10% to +26%")
    more = found | {("e", "sequences"): results}
    assert pooling.together(more, *compared).without_one == [one.mean] * 4
    ends = f"begins at {low:+.0%} to {low:+.0%}, ends at {high:+.0%} to {high:+.0%}"
    assert pooling.table(more)["its interval with one of them left out"].tolist() == [ends]
    assert prose.numbers(more, ())["together"].endswith(
        f" data sets, 4 of them with fewer than 5 search trials; with one of them left out, the interval {ends}"
    )
    assert pooling.means(found)[["relative", "relative low", "relative high"]].to_numpy().tolist() == [[np.expm1(one.mean.mean), low, high]]
    assert pooling.means({}).empty and pooling.table({}).to_numpy().tolist() == [[pooling.TOO_FEW]]
    # where the winners were trained with more seeds, those stand in; elsewhere the main study does
    done = replace(results.selection.planned, trials=results.selection.trials, seeds=results.selection.tried)
    study = replace(results, selection=replace(results.selection, study=STUDIES["sequence-seeds"], planned=done))
    better = replace(study.outcomes["mixture_lstm"], values=2 * study.outcomes["mixture_lstm"].values)
    again = found | {("b", "sequence-seeds"): replace(study, outcomes=study.outcomes | {"mixture_lstm": better})}
    first, second = pooling.comparisons(again)
    assert (first.study, second.study, first.again, second.again) == ("sequences", "sequence-seeds", [], ["B"])
    assert second.names == one.names and second.effects - first.effects == pytest.approx([0, np.log(2), 0])
    assert pooling.table(again)["model"].tolist() == ["Mixture-LSTM", "Mixture-LSTM, with more seeds on B"]
    # splits of a data set share most of their train parts, which a mean over data sets must know
    apart = replace(study, selection=replace(study.selection, study=STUDIES["sequence-splits"]))
    on_splits = pooling.together(found | {("b", "sequence-splits"): apart}, "sequence-splits", "mixture_lstm", "lstm")
    corrected = share_corrected(*(apart.outcomes[arm] for arm in ("mixture_lstm", "lstm")))
    assert on_splits.again == ["B"] and on_splits.errors.tolist() == [one.errors[0], corrected.error, one.errors[2]]
    assert corrected.error != pytest.approx(one.errors[1], rel=0.01)
    begun = replace(study, selection=replace(study.selection, planned=results.selection.planned))
    assert [one.study for one in pooling.comparisons(again | {("b", "sequence-seeds"): begun})] == ["sequences"]
    assert prose.numbers({}, ())["together"] == "too few data sets have several seeds yet"
