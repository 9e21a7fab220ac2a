import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_studies
from conftest import benchmark
from scipy import stats
from tiny_studies import NAMES, TINY

from mixlib import (
    datasets,
    describe,
    evaluation,
    experiments,
    figures,
    gains,
    labels,
    outcomes,
    plans,
    pooling,
    progress,
    prose,
    publish,
    ranks,
    reports,
    retrained,
    searching,
    synthetic,
    tables,
    twins,
    verdicts,
    winners,
)  # fmt: skip
from mixlib.evaluation import interval
from mixlib.evidence import Evidence, Share, share, share_corrected, share_of
from mixlib.ledger import Ledger, key_of
from mixlib.losses import LOSSES
from mixlib.notebooks import Project
from mixlib.studies import STUDIES

# fixtures: a name that is imported would be hidden by the arguments that bear it
data, planned, monkeypatch_module = tiny_studies.data, tiny_studies.planned, tiny_studies.monkeypatch_module
ledger, found = tiny_studies.ledger, tiny_studies.found


def test_other_metrics_stand_for_every_model_and_a_sign_unlike_that_of_mrr_is_named(found):
    main = {key: results for key, results in found.items() if key[1] in outcomes.MAIN}
    table = tables.metrics(found)
    models = [(labels.label(arm), one) for results in main.values() for arm, one in results.outcomes.items()]
    assert table["model"].tolist() == [name for name, _ in models] and set(table["data set"]) == {"Synthetic"}
    assert table["Recall@10"].tolist() == [f"{one.metric('recall_at_10'):.3f}" for _, one in models]
    results = found["synthetic", "sequences"]

    def said(change):
        """Of one comparison in which the mixture is ahead by 0.1 in MRR, and by this much in recall."""
        ours, theirs = (results.outcomes[arm] for arm in ("mixture_lstm", "lstm"))
        metrics = dict.fromkeys(ours.records[0]["test"], 0.2)
        low = replace(theirs, values=np.full_like(theirs.values, 0.2), records=[record | {"test": metrics} for record in theirs.records])
        records = [record | {"test": dict.fromkeys(metrics, 0.3) | {"recall_at_10": 0.2 + change}} for record in ours.records]
        high = replace(ours, values=np.full_like(ours.values, 0.3), records=records)
        return tables.metric_verdicts({("synthetic", "sequences"): replace(results, outcomes={"lstm": low, "mixture_lstm": high})})

    assert said(0.1) == ["of 1 comparisons of a mixture with its single vector 1 have the sign of MRR by all metrics."]
    assert said(0)[0].endswith(
        " 0 have the sign of MRR by all metrics; 1 has another or none by some: Mixture-LSTM on Synthetic (Recall@10: none)."
    )
    (odd,) = said(-0.1)
    assert " 0 have the sign of MRR by all metrics; 1 has another or none by some: Mixture-LSTM on Synthetic (Recall@10)." in odd
    assert tables.metric_verdicts({}) == []


def test_metrics_of_ranks_have_the_intervals_that_the_mrr_has(found, ledger):
    results, splits = found["synthetic", "sequences"], found["synthetic", "sequence-splits"]
    ours = results.outcomes["mixture_lstm"]
    for name, there in (("MRR", None), ("Recall@10", "recall_at_10"), ("NDCG@10", "ndcg_at_10")):
        assert ranks.of(ours, name).mrr == pytest.approx(ours.metric(there) if there else ours.mrr, rel=1e-5)
    assert ranks.of(ours, "geometric mean of the rank").mrr == pytest.approx(np.mean([np.log(values).mean() for values in ours.each]))
    places = np.array([1, 10, 10.5, 50, 50.5, 99_999.5, 200_000])
    made = replace(ours, values=1 / places, each=[(1 / places).astype(np.float32)])  # as records keep them
    for name, values in (("Recall@1", places == 1), ("Recall@10", places <= 10), ("Recall@50", places <= 50), ("MRR", 1 / places)):
        assert ranks.of(made, name).values.tolist() == values.astype(float).tolist()
    (_, first, one), (_, second, apart) = ranks.gaps(found)  # of the main study, and of other splits
    assert (first, second) == ("sequences", "sequence-splits")
    assert one["MRR"].bounds == pytest.approx(Evidence.of(results, "mixture_lstm", "lstm").wide, rel=1e-4)
    both = [splits.outcomes[arm] for arm in ("mixture_lstm", "lstm")]
    by_split = [[(1 / values < 10.5).mean() for values in outcome.each] for outcome in both]
    gap = np.subtract(*by_split)
    pooled = np.subtract(*((1 / outcome.values < 10.5).mean() for outcome in both))
    assert apart["Recall@10"].value == pytest.approx(pooled) and apart["Recall@10"].freedom == 1
    assert apart["Recall@10"].error == pytest.approx(gap.std(ddof=1) * np.sqrt(1 / 2 + 0.1 / 0.8))
    row = ranks.table(found).iloc[0]
    change = np.expm1(-one["geometric mean of the rank"].value)
    assert row["geometric mean of the rank"].strip("*").startswith(f"{change:+.1%} [") and row["study"] == "sequences"
    assert row["MRR"].strip("*") == labels.with_interval(one["MRR"].value, one["MRR"].bounds, sign=True)
    assert len(ranks.table({})) == 1 and ranks.verdicts({}) == [reports.NOTHING]


def test_metrics_that_are_decided_are_named_and_what_is_left_of_them_by_holm(monkeypatch):
    gap = {"sure": outcomes.Estimate(0.1, 0.001, 9), "hardly": outcomes.Estimate(-0.1, 0.04, 90), "open": outcomes.Estimate(0.1, 0.1, 9)}
    assert [one.p < 0.05 for one in gap.values()] == [True, True, False]
    monkeypatch.setattr(
        ranks, "gaps", lambda _: [("a", "sequences", gap), ("b", "sequences", gap), ("b", "sequence-seeds", {"open": gap["open"]})]
    )
    assert ranks.verdicts({}) == [
        "`sequences`: ahead by sure on A and B; behind by hardly on A and B. "
        "Left by Holm's correction for all 6 comparisons: sure on A and B.",
        "`sequence-seeds`: nothing is decided.",
    ]
    hardly = {"hardly": gap["hardly"], "open": gap["open"]}
    monkeypatch.setattr(ranks, "gaps", lambda _: [(name, "sequences", hardly) for name in "ab"])
    assert ranks.verdicts({}) == ["`sequences`: behind by hardly on A and B. Left by Holm's correction for all 4 comparisons: none."]


def test_a_p_value_is_below_a_twentieth_where_the_interval_leaves_0_out():
    for value, error, freedom in ((0.2, 0.1, 8), (0.2, 0.1, 1), (-0.2, 0.1, np.inf), (0.19, 0.1, np.inf)):
        one = outcomes.Estimate(value, error, freedom)
        low, high = one.bounds
        assert (one.p < 0.05) == (low > 0 or high < 0) and one.p == pytest.approx(2 * stats.t.cdf(-abs(value) / error, freedom))
    assert (outcomes.Estimate(0.1, 0, np.inf).p, outcomes.Estimate(0.0, 0, np.inf).p) == (0, 1)


def test_generated_users_have_a_row_by_metrics_of_ranks(planned, tmp_path, monkeypatch):
    name, ledger = "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=2,stickiness=0.9,skew=0.4,twins=0.0", Ledger(tmp_path)
    monkeypatch.setattr(ranks, "FACTORIAL", (name, name.replace("twins=0.0", "twins=0.5")))
    assert len(ranks.generated(ledger)) == 1 and list(ranks.generated(ledger)) == [""]
    experiments.run("sequences", synthetic.from_name(name), ledger, TINY)
    [row] = ranks.generated(ledger).to_dict("records")
    [(_, _, made)] = ranks.gaps(outcomes.collected(ledger, ["sequences"], [name]))
    assert [*row.values()][:4] == [2, 0.9, 0.4, 0.0] and row["Recall@50"].strip("*").startswith(f"{made['Recall@50'].value:+.3f} [")


@pytest.mark.parametrize("make", [tables.capacity, tables.dims])
def test_a_study_that_nobody_began_has_one_row_that_says_so(make, found):
    assert make(found, NAMES).to_numpy().tolist() == make({}, NAMES).to_numpy().tolist() == [["nothing is recorded yet"]]


def test_arms_that_were_not_run_are_said(planned, data, tmp_path):
    experiments.run("factorization-capacity", data, Ledger(tmp_path), replace(TINY, trials=1, seeds=1), arms=["factorization/dim 32"])
    table = tables.capacity(outcomes.collected(Ledger(tmp_path), datasets=["synthetic"]), NAMES).set_index("model")["test MRR [95%]"]
    assert len(table) == len(STUDIES["factorization-capacity"].arms) and (table == "not run yet").sum() == len(table) - 1


def test_sentences_on_size_and_loss_hold_one_comparison_for_each_arm_that_was_run(planned, data, tmp_path):
    ledger = Ledger(tmp_path)
    arms = ["factorization/dim 32", "factorization/dim 256", "embedding_mixture/dim 32"]
    experiments.run("factorization-capacity", data, ledger, replace(TINY, trials=1, seeds=1), arms=arms)
    losses = [f"factorization/{loss}" for loss in ("adaptive_hinge", "bpr", "bpr of 5")]
    experiments.run("factorization-losses", data, ledger, replace(TINY, trials=1, seeds=2), arms=losses)
    found = outcomes.collected(ledger, datasets=["synthetic"])
    results = found["synthetic", "factorization-losses"]
    size, loss = tables.size_verdicts(found["synthetic", "factorization-capacity"]), reports.loss_verdicts(results)
    one, five = (Evidence.of(results, losses[0], other) for other in losses[1:])
    who = "Factorization: the adaptive hinge loss against BPR as printed"
    assert loss == [
        f"{who}: {one} in test MRR, {reports.SIDES[one.side]}.",
        f"{who}, 5 negatives: {five} in test MRR, {reports.SIDES[five.side]}.",
    ]
    pairs = [f"{labels.label(arms[2])} against {labels.label(arm)}" for arm in arms[:2]]
    assert [sentence.partition(" (")[0] for sentence in size] == pairs
    assert all(sentence.endswith("one seed, so not judged.") for sentence in size)
    assert tables.capacity_verdicts(found) == [f"One seed, so not judged: {'; '.join(f'{pair}, on Synthetic' for pair in pairs)}."]
    assert tables.capacity_verdicts({}) == [reports.NOTHING]


@pytest.mark.parametrize("wide", [reports.WIDE, reports.HALF])
def test_vectors_as_large_as_the_mixture_stand_in_tables_sentences_and_abstract(wide, planned, data, tmp_path, monkeypatch):
    ledger, study, mixture, place = Ledger(tmp_path), reports.SIZE, reports.MIXTURE, [reports.HALF, reports.WIDE].index(wide)
    experiments.run(study, data, ledger, TINY)
    found = outcomes.collected(ledger, datasets=["synthetic"])
    one = Evidence.of(found["synthetic", study], mixture, wide)
    control, narrow = labels.label(wide), labels.label("factorization")
    said = tables.size_verdicts(found["synthetic", study])
    assert len(said) == 2  # none on the narrow one: the gains have it
    searches = [found["synthetic", study].outcomes[arm].search for arm in (mixture, wide)]
    models, counts = [one["definition"]["model"] for one in searches], [f"{one['parameters'] / 1e6:.2f}" for one in searches]
    sizes = f"({2 * models[0]['components'] * models[0]['dim']} and {models[1]['dim']} numbers for a user, "
    sizes += f"{counts[0]} and {counts[1]} million parameters in all)"
    assert said[place] == reports.sentence(labels.label(mixture), one, f"{control} {sizes}")
    where = [line for line in tables.capacity_verdicts(found) if f"{labels.label(mixture)} against {control}, on Synthetic" in line]
    assert len(where) == 1 and where[0].startswith(f"{reports.SIDES[one.side].capitalize()}: ")
    left = without(found, {wide})
    assert tables.size_verdicts(left["synthetic", study])[place] == f"{labels.label(mixture)} against {control}: failed in all trials."
    rows = tables.capacity(found, NAMES).set_index("model")
    assert rows.loc[[control, labels.label(mixture)], "mixture minus this [95%]"].tolist() == [one.over_users, ""]
    assert rows.loc[control, reports.OVER_SEEDS] == one.over_seeds and narrow in rows.index
    assert rows.loc[control, "numbers for a user"] == f"{models[1]['dim']}"
    assert rows.loc[narrow, "numbers for a user"] == f"{TINY.dim['factorization']}"
    word = {"ahead": "better", "behind": "worse", "undecided": "undecided"}[one.side]
    assert (
        prose.numbers(found, labels.UNORDERED)[f"{'half_' * (wide == reports.HALF)}size_sides"]
        == f"{word} on Synthetic (2 of 2 search trials)"
    )
    assert searching.trials_of(found["synthetic", study], ledger).keys() == STUDIES[study].arms.keys()
    monkeypatch.setattr(searching, "PAIRS", 2)
    same = searching.same_settings(found, ledger)
    assert [labels.label(mixture), control] in same[["model", "against"]].to_numpy().tolist()
    alone = {key: results for key, results in found.items() if key[1] == study}
    assert any(
        sentence.startswith(f"{labels.label(mixture)} against {control}: ahead in ") for sentence in searching.same_verdicts(alone, ledger)
    )
    assert verdicts.claims(found, {})["verdict"].iloc[4 - place] == verdicts.weighed([one], verdicts.CONTROL)
    table = gains.by_size(found).set_index("model")
    results = found["synthetic", study]
    assert list(table.index) == [reports.HALF, reports.WIDE, mixture]
    assert tuple(table.loc[wide, ["low", "high"]]) == Evidence.of(results, wide, "factorization").wide
    drawn = figures.size(table.reset_index()).axes[0]
    middles = [container.lines[0].get_xdata()[0] for container in drawn.containers]
    assert middles == pytest.approx([100 * table.loc[arm, "relative"] for arm in table.index])
    bounds = [share(results.outcomes[arm], results.outcomes["factorization"]).bounds for arm in table.index]
    assert table[["relative low", "relative high"]].to_numpy().tolist() == [list(some) for some in bounds]
    ends = [container.lines[2][0].get_segments()[0][:, 0].tolist() for container in drawn.containers]
    assert ends == [pytest.approx([100 * low, 100 * high]) for low, high in bounds]
    assert drawn.get_xlim()[1] <= 150 * table["relative"].abs().max() + 1e-9  # cut, where intervals leave nothing else to see
    figures.size(gains.by_size({})).canvas.draw()  # before anything was run


def test_a_mixture_stands_against_the_single_vector_with_each_loss(planned, data, tmp_path):
    arms = [f"{kind}/{loss}" for kind in ("factorization", "embedding_mixture") for loss in ("bpr", "hinge")]
    study = "factorization-losses"
    experiments.run(study, data, Ledger(tmp_path), replace(TINY, trials=1, seeds=2), arms=arms)
    found = outcomes.collected(Ledger(tmp_path), datasets=["synthetic"])
    table = tables.gains_by_loss(found).set_index("loss")
    assert list(table.index) == ["BPR as printed", "hinge"] and set(table["mixture"]) == {"Embedding mixture"}
    one = Evidence.of(found["synthetic", study], arms[2], arms[0])
    assert table.loc["BPR as printed", ["gain over the single vector [95%]", reports.OVER_SEEDS]].tolist() == [
        one.over_users,
        one.over_seeds,
    ]
    assert list(tables.gains_by_loss(without(found, {arms[0]}))["loss"]) == ["hinge"]
    assert list(tables.gains_by_loss({})) == [""]


def test_the_mixture_of_the_main_study_and_its_largest_gain_stand_against_larger_vectors_of_fewer_trials(planned, data, tmp_path):
    ledger = Ledger(tmp_path)
    experiments.run("factorization", data, ledger, TINY)
    experiments.run(reports.SIZE, data, ledger, replace(TINY, trials=1))
    found = outcomes.collected(ledger, datasets=["synthetic"])
    mixture, size = found["synthetic", "factorization"].outcomes[reports.MIXTURE], found["synthetic", reports.SIZE]
    assert (size.selection.trials, found["synthetic", "factorization"].selection.trials) == (1, 2)
    said = tables.size_of_main_verdicts(found)
    for arm in (reports.HALF, reports.WIDE):
        side = Evidence.between(mixture, size.outcomes[arm]).side
        [line] = [line for line in said if f"{labels.label(arm)}, on Synthetic" in line]
        assert line.startswith(f"{reports.SIDES[side].capitalize()}: Embedding mixture against ")
    gap = evaluation.Comparison(0.02, 0.01, 0.03, 0.01, 0.5)
    tenth, twentieth = (Share(np.log(ratio), 0.1, np.inf) for ratio in (1.1, 1.05))
    most, other = (
        reports.Gain("synthetic", "factorization", reports.MIXTURE, "factorization", tenth, Evidence(gap, (0.01, 0.03)), 0.01),
        reports.Gain("synthetic", "sequences", "mixture_lstm", "lstm", twentieth, Evidence(gap, (0.01, 0.03)), 0.01),
    )
    half, wide = (Evidence.between(mixture, size.outcomes[arm]) for arm in (reports.HALF, reports.WIDE))
    said = prose._largest_gain([other, most], found)
    assert said.startswith("Embedding mixture on Synthetic: +0.020 ") and ", +10% of the MRR; over a single vector that was" in said
    assert said.endswith(f" it is {half}, over one with as many {wide} (1 of 2 search trials of those vectors)")
    without_sizes = {key: results for key, results in found.items() if key[1] != reports.SIZE}
    assert prose._largest_gain([most], without_sizes).endswith(", +10% of the MRR")
    assert prose._largest_gain([other], found).endswith(", +5% of the MRR")  # larger vectors are no control of that mixture
    experiments.run(reports.SIZE, data, ledger, TINY)  # as many trials: nothing to add
    assert tables.size_of_main_verdicts(outcomes.collected(ledger, datasets=["synthetic"])) == [reports.NOTHING]


def test_winners_are_shown_with_their_settings_and_what_they_were_tested_on(found):
    main = {key: results for key, results in found.items() if key[1] in outcomes.MAIN}
    table = winners.settings(main)
    assert len(table) == sum(len(results.outcomes) for results in main.values())
    for results in main.values():
        for arm, outcome in results.outcomes.items():
            [row] = table[table["model"] == labels.label(arm)].to_dict("records")
            fitted = outcome.search["definition"]["training"]
            assert (row["batch size"], row["L2"]) == (fitted["batch_size"], f"{fitted['l2']:.1e}")
            assert row["sd over seeds"] == f"{outcome.by_seed.std(ddof=1):.4f}" and row[tables.SPENT] == reports.spent(results)
            assert row["best epochs of the seeds"] == ", ".join(str(record["best_epoch"]) for record in outcome.records)
            users, n = len(set(outcome.users.tolist())), len(outcome.values)
            assert row["tested on"] == (f"{users} users" if users == n else f"{n} windows of {users} users")
            assert bool(row[reports.SCALE]) == (arm == "projection_mixture")
    drawn = winners.reference_settings(found).set_index(["protocol", "method"])["settings"]
    als = found["synthetic", "factorization-references"].outcomes["als"].search["definition"]["model"]
    assert drawn["factorization", labels.label("als")] == ", ".join(f"{name} {als[name]:.3g}" for name in ("alpha", "iterations", "l2"))
    assert labels.label("popularity") not in {method for _, method in drawn.index} and list(winners.reference_settings({})) == [""]
    assert list(winners.settings({})) == list(winners.settings({key: replace(one, outcomes={}) for key, one in main.items()})) == [""]


def test_eight_tastes_stand_against_two_and_all_against_one(planned, data, tmp_path, monkeypatch):
    one_taste, *arms = [f"embedding_mixture/{m}" for m in (1, 2, 8)]
    experiments.run("factorization-components", data, Ledger(tmp_path), replace(TINY, trials=1, seeds=2), arms=[one_taste, *arms])
    found = outcomes.collected(Ledger(tmp_path), datasets=["synthetic"])
    table = tables.components(found, NAMES).set_index("data set")
    one = Evidence.of(found["synthetic", "factorization-components"], *reversed(arms))
    assert table.loc["Synthetic", [tables.EIGHT, reports.OVER_SEEDS]].tolist() == [one.over_users, one.over_seeds]
    assert table.loc["Movielens 10M, 2018", tables.EIGHT].tolist() == ["+0.0119", "-0.0052"]
    results = found["synthetic", "factorization-components"]
    two, eight = (reports.SIDES[Evidence.of(results, arm, one_taste).side] for arm in arms)
    said = {f"{two}: m = 2", f"{eight}: m = 8"} if two != eight else {f"{two}: m = 2, 8"}
    [sentence] = tables.components_verdicts(results)
    start, _, parts = sentence.partition(": ")
    assert start == "Embedding mixture, several tastes against one" and set(parts.removesuffix(".").split("; ")) == said
    assert tables.components_verdicts(replace(results, outcomes={arm: results.outcomes[arm] for arm in arms})) == []
    assert tables.components_verdicts(outcomes.nothing("sequence-components")) == []
    sides = {arms[0]: SimpleNamespace(side="undecided"), arms[1]: SimpleNamespace(side="ahead")}
    monkeypatch.setattr(tables, "Evidence", SimpleNamespace(of=lambda results, ours, theirs: sides[ours]))
    assert tables.components_verdicts(results)[0].endswith(": ahead, decided: m = 8; undecided: m = 2.")


@pytest.mark.parametrize("make", [tables.reference_points, winners.tastes])
def test_what_was_not_run_is_said_and_no_cell_is_nan(make, found):
    for results in (found, {}):
        table = make(results, NAMES)
        assert len(table) and not table.isna().any().any()
    assert "not run yet" in table.astype(str).to_numpy()


def test_references_stand_beside_the_models_with_what_the_best_one_gains(found):
    table = tables.reference_points(found, NAMES)
    assert len(table) == sum(
        len(STUDIES[n].arms) for n in ("sequences", "factorization", "sequence-references", "factorization-references")
    )
    for protocol, rows in table.groupby("protocol"):
        results = found["synthetic", protocol]
        best = max(results.outcomes.values(), key=lambda o: o.search["validation"]["mrr"])
        said = rows.set_index("method")
        assert (said["best model minus this [95%]"] == "the best model").sum() == 1
        assert said.loc[labels.label(best.arm), "best model minus this [95%]"] == "the best model"
        other = found["synthetic", f"{str(protocol).removesuffix('s')}-references"].outcomes["popularity"]
        assert said.loc["Popularity", "best model minus this [95%]"].startswith(f"{best.mrr - other.mrr:+.3f} [")
    assert set(table["trials, seeds"]) == {"2 of 2, 2 of 2"}


def test_twins_stand_beside_what_the_sequence_models_reach(found, data):
    kept = {"synthetic": describe.counted(data), "goodbooks-v1": describe.counted(replace(data, ordered=False))}
    ours, books = twins.shares(found, kept).to_dict("records")
    assert ours["items with a near-twin"] == f"{describe.near_twins(data)['items with a near-twin']:.2%}"
    one = Evidence.of(found["synthetic", "sequences"], "mixture_lstm", "lstm")
    assert ours["Mixture-LSTM minus LSTM [95%]"] == one.over_users and ours[reports.OVER_SEEDS] == one.over_seeds
    assert [ours[tables.SPENT], books[tables.SPENT]] == ["2 of 2, 2 of 2", "none"]
    assert (
        books["consecutive pairs that are near-twins"] == books["LSTM, test MRR [95%]"] == "no order" != books["the same in random order"]
    )
    assert twins.shares({}, kept).iloc[0, -4:].tolist() == ["not run yet", "not run yet", "", "none"]
    assert twins.shares({}, {}).to_numpy().tolist() == [["nothing is recorded yet"]]


def twinned(tastes=2, **more):
    return synthetic.generate(users=150, items=40, clusters=4, length=20, tastes=tastes, twins=0.5, **more)


def test_twins_of_generated_users_are_those_that_were_drawn():
    data = twinned()
    pairs = twins.generated_pairs(data)
    followed = data.items[:-1] * (data.n_items + 1) + data.items[1:]
    within = data.users[:-1] == data.users[1:]
    assert len(pairs) == 40 and np.array_equal(pairs % 41 * 41 + pairs // 41, pairs[np.argsort(pairs % 41)])  # one way and the other
    assert 0.3 < np.isin(followed, pairs)[within].mean() < 0.5  # of two in a row, one in three is a second edition, or more


def test_a_gain_on_twins_is_told_from_one_on_other_targets(planned, tmp_path):
    data, ledger = twinned(), Ledger(tmp_path)
    experiments.run("sequences", data, ledger, replace(TINY, trials=1, seeds=2))
    results = outcomes.collected(ledger, datasets=["synthetic"])["synthetic", "sequences"]
    for arms in (["mixture_lstm", "lstm"], ["lstm", "mixture_lstm"]):  # in whatever order they are named
        named = outcomes.study("sequences", data, ledger=ledger, arms=iter(arms))
        assert named.mixtures == [("mixture_lstm", "lstm")] and list(named.outcomes) == ["lstm", "mixture_lstm"]
    alone = outcomes.study("sequences", data, ledger=ledger, arms=["mixture_lstm"])
    assert alone.mixtures == [] and alone.arms == ["lstm", "mixture_lstm"]
    lstm = results.outcomes["lstm"]
    windows = experiments.split_of(lstm.search["definition"], data).test.items
    ends = np.abs(windows[:, -1] - windows[:, -2]) == data.n_items // 2
    better = results.outcomes["mixture_lstm"].of([values + np.where(ends, 0.25, -0.125) for values in lstm.each], lstm.users)
    made = twins.gain_on(replace(results, outcomes={"lstm": lstm, "mixture_lstm": better}), data, twins.generated_pairs(data))
    assert 0 < ends.sum() < len(ends)
    assert made["twins"][0] == ends.sum() and made["twins"][1] == pytest.approx(lstm.values[ends].mean())
    assert made["twins"][2].gap.difference == pytest.approx(0.25) and made["other targets"][2].gap.difference == pytest.approx(-0.125)
    only = twins.gain_on(results, data, np.zeros(0, int))  # no pair is one of twins
    assert list(only) == ["other targets"] and only["other targets"][0] == len(windows)
    assert only["other targets"][2].wide == pytest.approx(Evidence.of(results, "mixture_lstm", "lstm").wide)
    assert sum(number for number, _, _ in twins.gain_on(results, data).values()) == len(windows)  # as the users tell


def test_gains_on_twins_are_shown_for_the_cells_that_have_any(planned, tmp_path):
    ledger = Ledger(tmp_path)
    names = [f"synthetic:users=90,items=40,clusters=4,length=20,skew=1.0,{more}" for more in
             ("tastes=1,stickiness=0.5,twins=0.5", "tastes=1,stickiness=0.9,twins=0.5", "tastes=2,stickiness=0.9,twins=0.5",
              "tastes=2,stickiness=0.9,twins=0.0", "tastes=3,stickiness=0.9,twins=0.5")]  # fmt: skip
    for name in names[:4]:
        experiments.run("sequences", synthetic.from_name(name), ledger, replace(TINY, trials=1, seeds=1))
    experiments.run("sequences", synthetic.from_name(names[1]), ledger, replace(TINY, trials=2, seeds=1))
    made = twins.generated(ledger, names)
    assert made["stays"].tolist() == [0.9] * 4 and made["trials, seeds"].tolist() == ["2 of 2, 1 of 2"] * 2 + ["1 of 2, 1 of 2"] * 2
    assert made["tastes"].tolist() == [1, 1, 2, 2] and made["targets"].tolist() == ["twins", "other targets"] * 2
    assert made.groupby("tastes")["share of windows"].sum().tolist() == pytest.approx([1, 1])
    shown = twins.table(made)
    assert shown.shape[0] == 4
    empty = twins.generated(Ledger(tmp_path / "none"), names)
    assert twins.table(empty).to_numpy().tolist() == [["nothing is recorded yet"]]


def test_gains_on_copies_are_kept_and_shown_as_long_as_their_records_are_those_of_the_ledger(planned, tmp_path, data_root, monkeypatch):
    (tmp_path / "_toc.yml").write_text("root: index")
    (tmp_path / "notebooks").mkdir()
    project, nothing = Project(tmp_path), [["nothing is recorded yet"]]
    base = replace(synthetic.generate(users=150, items=40, clusters=4, length=20), name="books", title="Books")
    data = synthetic.with_copies(base, 0.5)
    assert len(twins.copied_pairs(data)) == 20 and data.originals == 40
    with pytest.raises(ValueError):
        datasets.load(data.name)  # what it was made of may lie elsewhere
    publish.note_twins(project, data)
    assert not project.ledger.noted("twins") and twins.real(project.ledger).to_numpy().tolist() == nothing  # no records yet
    experiments.run("sequences", data, project.ledger, replace(TINY, trials=1, seeds=1))
    assert not outcomes.collected(project.ledger)  # data with copies are no column of Table 1
    publish.note_twins(project, data)
    windows = experiments.split_of(project.ledger.read(data.name, "sequences").popitem()[1]["definition"], data).test.items
    results = outcomes.recorded(project.ledger, data.name, "sequences")
    _, gap = (found.gap for _, _, found in twins.gain_on(results, data).values())
    monkeypatch.setattr(twins, "FEW_WINDOWS", 1)
    shown = twins.real(project.ledger)
    assert shown["test windows"].tolist() == [str((windows[:, -1] > 40).sum()), str((windows[:, -1] <= 40).sum())]
    assert shown["targets"].tolist() == ["twins", "other targets"] and set(shown["data set"]) == {"Books, 50% of the items twice"}
    assert shown["users and seeds"].tolist() == ["one seed"] * 2
    assert shown["Mixture-LSTM minus LSTM [95%]"][1] == labels.with_interval(gap.difference, (gap.low, gap.high), sign=True)
    monkeypatch.setattr(twins, "FEW_WINDOWS", len(windows) + 1)
    assert twins.real(project.ledger).to_numpy().tolist() == nothing
    gap = Evidence.of(results, "mixture_lstm", "lstm").gap
    (said,) = twins.copy_verdicts(project.ledger)
    assert said.startswith("Books, 50% of the items twice: the LSTM reaches ") and f" The difference is {gap.difference:+.3f} [" in said
    assert "trials, seeds: 1 of" in said and "Markov" not in said
    experiments.run("sequences", base, project.ledger, replace(TINY, trials=1, seeds=2))
    experiments.run("sequence-references", data, project.ledger, replace(TINY, trials=1, seeds=1))
    first, second = twins.copy_verdicts(project.ledger)
    markov = outcomes.recorded(project.ledger, data.name, "sequence-references").outcomes["markov"].mrr
    assert f"; Item-to-item Markov reaches {markov:.3f} [" in first and second.startswith("Books: the LSTM reaches ")
    assert "seeds 0." in second and "users and seeds: [" in second and "(seeds 0." not in first
    of_base = outcomes.recorded(project.ledger, "books", "sequences").outcomes
    ours, theirs = (project.ledger.arrays(of_base[arm].records[0])["reciprocal_ranks"] for arm in ("mixture_lstm", "lstm"))
    assert f", with the first seed alone {(ours - theirs).mean():+.3f} [" in second and "first seed" not in first
    assert twins.copy_verdicts(Ledger(tmp_path / "none")) == [reports.NOTHING]
    kept = project.ledger.noted("twins")[data.name] | {"records": ["of another winner"]}
    (project.ledger.root / "twins.json").write_text(json.dumps({data.name: kept}))
    assert twins.real(project.ledger).to_numpy().tolist() == nothing


def test_hours_are_those_of_all_records(planned, ledger, data, tmp_path):
    (row,) = tables.hours(ledger).to_dict("records")
    records = [record for name in STUDIES for record in ledger.read("synthetic", name).values()]
    assert (row["data set"], row["records"]) == ("Synthetic", str(len(records))) and {row["device"]} == {
        r["device"].replace(" 1 threads", " 1 thread") for r in records
    }
    assert float(row["hours"]) == pytest.approx(sum(sum(record["seconds"].values()) for record in records) / 3600, abs=0.05)
    other = Ledger(tmp_path)
    record = ledger.read("synthetic", "sequences").popitem()[1] | {"arrays": None}
    taken = [
        ("synthetic:tastes=1", {"fit": 3600.0}),
        ("books", {"fit": 7000.0, "test": 200.0}),
        ("books", {}),
        ("books:copies=0.5", {"fit": 1.0}),
    ]
    for n, (name, seconds) in enumerate(taken):
        definition = record["definition"] | {"n": n}
        made = record | {"dataset": name, "definition": definition, "key": key_of(definition), "seconds": seconds}
        other.write({key: value for key, value in made.items() if value != {}})  # a trial that failed has no seconds
    assert tables.hours(other)[["data set", "records", "hours"]].to_numpy().tolist() == [
        ["Books", "2", "2.0"], ["Books, 50% of the items twice", "1", "0.0"], ["Generated users", "1", "1.0"], ["all together", "4", "3.0"],
    ]  # fmt: skip
    assert tables.hours(Ledger(tmp_path / "none")).to_numpy().tolist() == [["nothing is recorded yet"]]


def test_the_best_reference_is_set_against_the_best_model(found):
    said = tables.reference_verdicts(found)
    for family in ("sequences", "factorization"):
        pair = [
            max(found["synthetic", name].outcomes.values(), key=lambda outcome: outcome.search["validation"]["mrr"])
            for name in (family, f"{family.removesuffix('s')}-references")
        ]
        found_here = Evidence.between(*pair)
        what = f"{labels.label(pair[0].arm)} against {labels.label(pair[1].arm)}, on Synthetic"
        assert [line for line in said if what in line] == [
            line for line in said if line.startswith(reports.SIDES[found_here.side].capitalize())
        ]
        table = tables.reference_points(found, ["synthetic"]).query("protocol == @family").set_index("method")
        assert table.loc[labels.label(pair[1].arm), reports.OVER_SEEDS] == found_here.over_seeds
    assert tables.reference_verdicts({}) == ["No records yet: nothing can be said."]


def test_a_reference_that_is_named_is_set_against_the_best_model_whether_it_is_the_best_or_not(found):
    references = found["synthetic", "factorization-references"].outcomes
    best = max(found["synthetic", "factorization"].outcomes.values(), key=lambda outcome: outcome.search["validation"]["mrr"])
    (said,) = tables.reference_verdicts({key: one for key, one in found.items() if "factorization" in key[1]}, "als")
    side = reports.SIDES[Evidence.between(best, references["als"]).side].capitalize()
    assert said == f"{side}: {labels.label(best.arm)} against Implicit ALS, on Synthetic."
    assert tables.reference_verdicts(found, "markov") == tables.reference_verdicts(
        {k: v for k, v in found.items() if k[1][0] == "s"}, "markov"
    )


def test_searches_of_one_model_stand_beside_each_other(planned, data, tmp_path):
    ledger, same = Ledger(tmp_path), ["factorization/dim 4", "embedding_mixture/dim 4"]  # as wide as in the tiny main study
    experiments.run("factorization", data, ledger, TINY)
    assert searching.repeated(outcomes.collected(ledger, datasets=["synthetic"])).to_numpy().tolist() == [["nothing is recorded yet"]]
    assert searching.repeated_verdicts(outcomes.collected(ledger, datasets=["synthetic"])) == [reports.NOTHING]
    experiments.run("factorization-dims", data, ledger, replace(TINY, trials=1), arms=[*same, "factorization/dim 2"])
    found = outcomes.collected(ledger, datasets=["synthetic"])
    table = searching.repeated(found)
    assert table[["model", "study"]].to_numpy().tolist() == [
        [model, study] for model in ("Embedding mixture", "Factorization") for study in ("factorization", "factorization-dims")
    ]
    main, dims = (found["synthetic", name].outcomes for name in ("factorization", "factorization-dims"))
    ours, theirs = [main["embedding_mixture"].mrr, dims[same[1]].mrr], [main["factorization"].mrr, dims[same[0]].mrr]
    (said,) = searching.repeated_verdicts(found)
    assert said == (
        f"Synthetic, 2 studies that search both: Embedding mixture {min(ours):.3f} to {max(ours):.3f}, "
        f"Factorization {min(theirs):.3f} to {max(theirs):.3f}; "
        f"the first minus the second: {ours[0] - theirs[0]:+.3f} (factorization), {ours[1] - theirs[1]:+.3f} (factorization-dims)."
    )
    third = ["factorization/adaptive_hinge", "embedding_mixture/adaptive_hinge"]
    experiments.run("factorization-losses", data, ledger, replace(TINY, trials=1, seeds=1), arms=third)
    assert "other searches" not in "".join(searching.repeated_verdicts(outcomes.collected(ledger, datasets=["synthetic"])))  # one seed
    experiments.run("factorization-losses", data, ledger, replace(TINY, trials=1), arms=third)
    found = outcomes.collected(ledger, datasets=["synthetic"])
    losses = found["synthetic", "factorization-losses"].outcomes
    gaps = [*np.subtract(ours, theirs), losses[third[1]].mrr - losses[third[0]].mrr]
    (said,) = searching.repeated_verdicts(found)
    over = labels.with_interval(np.mean(gaps), stats.t.interval(0.95, 2, np.mean(gaps), stats.sem(gaps)), sign=True)
    assert said.endswith(f"; for other searches, {over}.")


def test_the_best_of_all_searches_is_chosen_on_validation(planned, data, tmp_path):
    ledger, nothing = Ledger(tmp_path), [["nothing is recorded yet"]]
    for study, *arms in (("sequences",), ("sequence-components", "mixture_lstm/1"), ("factorization",), (reports.SIZE,)):
        experiments.run(study, data, ledger, TINY, arms=arms)
    # a mixture of one taste is no Mixture-LSTM, and what the study of size shares with the main one is one search
    assert searching.union(outcomes.collected(ledger, datasets=["synthetic"])).to_numpy().tolist() == nothing
    one, two, four = (f"embedding_mixture/{m}" for m in (1, 2, 4))
    experiments.run("factorization-components", data, ledger, replace(TINY, trials=1), arms=[one, two, four])
    experiments.run("factorization-variants", data, ledger, replace(TINY, trials=1), arms=["projection_mixture/gain 15, biases"])
    found = outcomes.collected(ledger, datasets=["synthetic"])
    main, size, tastes = (found["synthetic", name].outcomes for name in ("factorization", reports.SIZE, "factorization-components"))
    validated = ((main, "factorization", 0.5), (tastes, one, 0.6), (main, reports.MIXTURE, 0.5), (tastes, two, 0.8), (tastes, four, 0.7))
    for made, arm, mrr in validated:
        made[arm] = replace(made[arm], search=made[arm].search | {"validation": {"mrr": mrr}})
    # the best on validation reaches nothing on test
    worst = tastes[two] = tastes[two].of([0 * values for values in tastes[two].each], tastes[two].users)
    table = searching.union(found)
    assert table["model"].tolist() == [*map(labels.label, ("factorization", reports.HALF, reports.WIDE, "projection_mixture")),
                                       *3 * ["Embedding mixture"]]  # fmt: skip
    assert table["searches"].tolist() == [2, 1, 1, 1, 3, 3, 3] and table["trials in all"].tolist() == [3, 2, 2, 2, 4, 4, 4]
    assert table["the best is of"].tolist() == ["factorization-components, m = 1", *2 * [reports.SIZE], "factorization",
                                                *3 * ["factorization-components, m = 2"]]  # fmt: skip
    assert table["against"].tolist() == ["", "", "", *map(labels.label, 2 * ["factorization"] + [reports.HALF, reports.WIDE])]
    assert (table["validation MRR"].iloc[[0, 4]] == ["0.6000", "0.8000"]).all()
    compared = [Evidence.between(main["projection_mixture"], tastes[one]),
                *(Evidence.between(worst, other) for other in (tastes[one], size[reports.HALF], size[reports.WIDE]))]  # fmt: skip
    assert table["difference [95%]"].tolist() == ["", "", "", *(gap.over_users for gap in compared)] and compared[1].side == "behind"
    bold = [f"**{gap.over_seeds}**" if gap.side in ("ahead", "behind") else gap.over_seeds for gap in compared]
    assert table[reports.OVER_SEEDS].tolist() == ["", "", "", *bold]
    assert searching.union(without(found, {"factorization", one}))["against"].tolist().count(labels.label(reports.WIDE)) == 1
    assert searching.union({}).to_numpy().tolist() == nothing


def test_projections_whose_scale_is_given_are_searches_of_the_model_and_those_with_biases_are_not(planned, data, tmp_path):
    ledger, scale = Ledger(tmp_path), "projection_mixture/gain 15"
    experiments.run("factorization", data, ledger, TINY)
    experiments.run("factorization-variants", data, ledger, replace(TINY, trials=1), arms=[scale, f"{scale}, biases"])
    found = outcomes.collected(ledger, datasets=["synthetic"])
    table = searching.union(found).set_index("model")
    assert table.loc["Projection mixture", ["searches", "trials in all"]].tolist() == [2, 3]
    both = [("factorization", "projection_mixture"), ("factorization-variants", scale)]
    best = outcomes.best(found["synthetic", study].outcomes[arm] for study, arm in both)
    assert table.loc["Projection mixture", "test MRR [95%]"] == labels.with_interval(best.mrr, best.bounds, digits=4)


def test_the_draws_of_a_search_are_shown_with_the_searches_that_each_won(found, ledger):
    for name in outcomes.MAIN:
        table, results = winners.draws(found, name), found["synthetic", name]
        made = searching.searched(results, ledger)
        assert table["trial"].tolist() == [0, 1] and (reports.SCALE in table) == (name == "factorization")
        for arm, trials in made.items():
            for row, trial in zip(table.to_dict("records"), trials, strict=True):
                drawn = reports.drawn(trial["definition"])
                told = [what for what in drawn if drawn[what] and (what != "tastes" or "mixture" in arm)]
                assert [row[what] for what in told] == [drawn[what] for what in told]
                won = results.selection.winners[arm]["key"] == trial["key"]
                assert (f"{labels.label(arm)} on Synthetic" in row["wins the search of"].split("; ")) == won
    assert list(winners.draws({}, "sequences")) == [""]


def test_what_the_single_vector_reaches_where_many_tastes_or_a_large_scale_are_drawn(found, ledger, monkeypatch):
    results = found["synthetic", "factorization"]
    drawn = [one["definition"]["model"] for one in searching.searched(results, ledger)["projection_mixture"]]
    reached, most = searching.trials_of(results, ledger)["factorization"][0], max(one["components"] for one in drawn)
    monkeypatch.setattr(searching, "LARGE", sorted(one["gain"] for one in drawn)[-1])
    many = max(value for value, one in zip(reached, drawn, strict=True) if one["components"] == most) / max(reached)
    large = max(value for value, one in zip(reached, drawn, strict=True) if one["gain"] >= searching.LARGE) / max(reached)
    (said,) = searching.draw_verdicts(found, ledger)
    where = f"{large:.0%} in the trials of an initial scale of {searching.LARGE} or more."
    assert said == f"Synthetic: {many:.0%} in the trials of m = {most}, {where}"
    monkeypatch.setattr(searching, "LARGE", 100)
    assert searching.draw_verdicts(found, ledger) == [f"Synthetic: {many:.0%} in the trials of m = {most}."]
    assert searching.draw_verdicts({}, ledger) == [reports.NOTHING]


def test_a_method_that_failed_is_said(data, planned, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments.references, "LARGEST", 10)
    experiments.run("factorization-references", data, Ledger(tmp_path), replace(TINY, trials=1, seeds=1))
    table = (
        tables.reference_points(outcomes.collected(Ledger(tmp_path), datasets=["synthetic"]), NAMES)
        .set_index(["protocol", "method"])
        .loc["factorization"]
    )
    assert table.loc["EASE", "test MRR [95%]"] == "failed in all trials" and "[" in table.loc["ItemKNN", "test MRR [95%]"]
    assert set(table["best model minus this [95%]"]) == {""}  # no model of the main study was run


def without(found, arms):
    """As if these arms had failed in all their trials."""
    made = {}
    for key, results in found.items():
        chosen = results.selection
        winners = {arm: winner for arm, winner in chosen.winners.items() if arm not in arms}
        finalists = {arm: [] if arm in arms else records for arm, records in chosen.finalists.items()}
        left = {arm: outcome for arm, outcome in results.outcomes.items() if arm not in arms}
        made[key] = replace(results, outcomes=left, selection=replace(chosen, winners=winners, finalists=finalists))
    return made


@pytest.mark.parametrize(
    ("failed", "compared"),
    [
        ({"lstm", "factorization"}, []),
        ({"mixture_lstm", "projection_mixture"}, ["Embedding mixture"]),
        ({"lstm", "mixture_lstm", "popularity"}, ["Projection mixture", "Embedding mixture"]),
        ({"factorization", "projection_mixture", "embedding_mixture"}, ["Mixture-LSTM"]),
    ],
)
def test_models_that_failed_in_all_trials_leave_gaps_and_no_other_baseline(failed, compared, found, ledger, data, monkeypatch):
    monkeypatch.setattr(searching, "FEW", 2)
    left = without(found, failed)
    main = {key: results for key, results in left.items() if key[1] in outcomes.MAIN}
    shown = reports.table1(main, labels.UNORDERED).drop_duplicates("model").set_index("model")["Synthetic"]
    assert {arm for arm in labels.LABELS if shown[labels.label(arm)] == "failed in all trials"} == failed & set(labels.LABELS)
    assert not retrained.patience(left).isna().any().any() and retrained.short_table(retrained.short_seeds(left)).size
    told = [labels.label(arm) for arm in ("lstm", "mixture_lstm") if arm not in failed]
    assert [line.split(": ")[1] for line in retrained.patience_verdicts(left, ledger) if "trainings to" in line] == told
    for table in (reports.gains(main), searching.luck(left, ledger), gains.family(main).replace(labels.LABELS)):
        assert table.get("mixture", pd.Series(dtype=str)).tolist() == compared
    said = [sentence for results in main.values() for sentence in reports.verdicts(results) if sentence != reports.NOTHING]
    assert [sentence.split(" against ")[0] for sentence in said] == compared
    claimed = verdicts.claims(left, {"synthetic": 3.5}).iloc[:3]
    for who, row in zip(("Mixture-LSTM", "Projection mixture", "Embedding mixture"), claimed.to_dict("records"), strict=True):
        assert row["claim of 2018"].removeprefix("A control, not a claim: ").startswith(who)
        assert (row["verdict"] == "none, a model failed in all trials") == (who not in compared)
        assert ("* Synthetic failed in all trials" in row[verdicts.HERE]) == (who not in compared)
    for make in (tables.reference_points, winners.tastes):
        assert not make(left, NAMES).isna().any().any()
    assert len(winners.binary(left, ledger, NAMES)) == len(labels.LABELS)
    assert len(reports.sources(main)) == len(labels.LABELS) - len(failed & set(labels.LABELS))
    searching.curves(left, ledger), winners.binary_verdicts(left, ledger), tables.reference_verdicts(left), retrained.splits(left)
    figures.table1(main, tables.references_of(left))
    for name, arm in (("sequences", "mixture_lstm"), ("factorization", "embedding_mixture")):
        rows = gains.who_gains(left["synthetic", name], arm, data, ledger)
        assert rows.empty == (labels.label(arm) not in compared)
        assert ("not recorded" in gains.by_quarters(rows).to_numpy()) == rows.empty
        reports.arms(left["synthetic", name], next(iter(STUDIES[name].arms)))


def test_table_4_is_made_of_the_records(found, ledger):
    of_another = {"dim": 4, "components": 12, "real": 1.0, "binary": 2.0}  # no search drew twelve tastes
    measured = {"lstm": {"dim": 4, "components": 1, "real": 1000.0, "binary": 2500.0}, "mixture_lstm": of_another}
    (ledger.root / "speeds.json").write_text(json.dumps({"synthetic": measured}))
    table = winners.binary(found, ledger, NAMES).set_index("model")
    for results in (found["synthetic", name] for name in outcomes.MAIN):
        for arm, outcome in results.outcomes.items():
            row = table.loc[labels.label(arm)]
            codes = np.mean([record["binary"]["mrr"] for record in outcome.records])
            assert row["binary MRR"] == f"{codes:.3f}" and row["MRR ratio [95%]"].startswith(f"{codes / outcome.mrr:.3f} [")
            assert row["memory ratio, item"] == f"{(1 + 8) / (4 * 4 + 4):.3f}"  # d = 4: one byte, scale, bias
    assert table["speed ratio"].drop("LSTM").eq("").all() and table.loc["LSTM", "speed ratio"] == "2.50"


def test_binary_codes_of_mixtures_are_set_against_those_of_single_vectors(found, ledger):
    sizes = {arm: winners._size(record) for arm, record in found["synthetic", "sequences"].selection.winners.items()}
    measured = {"lstm": {"real": 1000.0, "binary": 500.0}, "mixture_lstm": {"real": 100.0, "binary": 300.0}}
    (ledger.root / "speeds.json").write_text(json.dumps({"synthetic": {arm: speed | sizes[arm] for arm, speed in measured.items()}}))
    shares = {
        (name, arm): winners.kept(outcome, ledger)[0]
        for name in outcomes.MAIN
        for arm, outcome in found["synthetic", name].outcomes.items()
    }
    more = [shares[name, arm] > shares[name, next(iter(STUDIES[name].arms))] for name, arm in shares if "mixture" in arm]
    counted, speeds = winners.binary_verdicts(found, ledger)
    assert (
        counted.startswith(f"In {sum(more)} of 3 comparisons")
        and f"Mixture-LSTM {int(more[0])} of 1, " in counted
        and "0.5 (slower in 1 of 1: Synthetic) for single vectors and 3.0 (slower in 0 of 1) for mixtures" in speeds
    )
    assert winners.binary_verdicts({}, ledger) == ["No records yet: nothing can be said."]


def test_codes_of_the_widest_are_set_against_real_vectors_of_no_more_bytes(data, planned, tmp_path):
    ledger, name = Ledger(tmp_path), "factorization-dims"
    experiments.run(name, data, ledger, replace(TINY, trials=1, seeds=1), arms=["factorization/dim 2", "factorization/dim 32"])
    found = outcomes.collected(ledger, datasets=["synthetic"])
    narrow, wide = (found["synthetic", name].outcomes[f"factorization/dim {d}"] for d in (2, 32))
    assert wide.records[0]["binary"]["bytes"]["item"]["binary"] == 12 == narrow.records[0]["binary"]["bytes"]["item"]["real"]
    (said,) = winners.width_verdicts(found, ledger)
    gap = Evidence.between(narrow, winners.as_binary(wide, ledger))
    assert np.isclose(gap.gap.difference, narrow.mrr - wide.records[0]["binary"]["mrr"])
    assert said == (f"Synthetic: Factorization, width 2, real (12 bytes an item) against Factorization, width 32, binary (12 bytes): {gap} "
                    f"in test MRR, {reports.SIDES[gap.side]}.")  # fmt: skip
    only = {key: replace(results, outcomes={"factorization/dim 32": wide}) for key, results in found.items()}
    assert winners.width_verdicts(only, ledger) == winners.width_verdicts({}, ledger) == ["No records yet: nothing can be said."]


def test_speeds_are_measured_for_every_winner(found, data):
    speeds = winners.measure_speeds(found["synthetic", "factorization"], data, users=3)
    assert set(speeds) == {("synthetic", arm) for arm in STUDIES["factorization"].arms}
    assert all(value > 0 for speed in speeds.values() for value in speed.values())


def test_table_3_has_a_row_for_each_loss_and_model(ledger, data):
    name = "factorization-losses"
    made, arrays = experiments.compute(name, data, replace(TINY, trials=1, seeds=1))
    results = outcomes._results(made, lambda record: arrays[record["key"]])
    table = tables.losses({("synthetic", name): results})
    assert (
        len(table) == len(STUDIES[name].arms)
        and set(table["data set"]) == {"Synthetic"}
        and set(table["trials, seeds"]) == {"1 of 1, 1 of 1"}
    )
    assert len(tables.losses({})) == 1  # a row that says so


def test_diagnostics_and_metrics_are_means_over_seeds(found):
    results = found["synthetic", "sequences"]
    outcome = results.outcomes["mixture_lstm"]
    made = [(0.25, [0.75, 0.25]), (0.75, [0.15, 0.85])]
    records = [
        record | {"tastes": dict.fromkeys(record["tastes"], value) | {"users_by_taste": users}, "test": {"recall_at_10": value}}
        for record, (value, users) in zip(outcome.records, made, strict=True)
    ]
    outcome = replace(outcome, records=records)
    assert outcome.metric("recall_at_10") == 0.5
    shown = results.outcomes | {"mixture_lstm": outcome}
    row = winners.tastes({("synthetic", "sequences"): replace(results, outcomes=shown)}, NAMES).set_index("model").loc["Mixture-LSTM"]
    m = outcome.search["definition"]["model"]["components"]
    assert row["entropy of the weights / ln m"] == f"{0.5 / np.log(m):.2f}"
    for what in ("effective tastes", "cosine of tastes", "weight of the dominant taste"):
        assert row[what] == "0.50"
    assert row["users of the commonest dominant taste"] == "80%"


def test_other_splits_are_joined_and_compared_over_all_their_users(found, ledger):
    results = found["synthetic", "sequence-splits"]
    gap = Evidence.of(results, "mixture_lstm", "lstm").gap
    seeds = {arm: [ledger.arrays(record) for record in outcome.records] for arm, outcome in results.outcomes.items()}
    assert not np.array_equal(*[np.unique(arrays["users"]) for arrays in seeds["lstm"]])  # the splits differ
    both = [np.concatenate([arrays["reciprocal_ranks"] for arrays in seeds[arm]]) for arm in ("mixture_lstm", "lstm")]
    assert gap.difference == pytest.approx(np.mean(both[0] - both[1]), abs=1e-6)
    table = retrained.splits(found).set_index("model")
    assert table.loc["Mixture-LSTM", "difference [95%]"] == f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    means = [arrays["reciprocal_ranks"].mean() for arrays in seeds["lstm"]]
    assert table.loc["LSTM", "sd over splits"] == f"{np.std(means, ddof=1):.4f}" and set(table["trials, seeds"]) == {"2 of 2, 2 of 15"}
    assert len(retrained.splits({})) == 1  # a row that says so
    first, again = (share_of(found["synthetic", name], "mixture_lstm", "lstm") for name in ("sequences", "sequence-splits"))
    (said,) = retrained.again_verdicts(found, splits=True)
    ours, theirs = (found["synthetic", "sequence-splits"].outcomes[arm] for arm in ("mixture_lstm", "lstm"))
    assert f": {first} of the MRR with 2 seeds of the main study, {again} on 2 other splits (" in said and "), so far " in said
    assert said.endswith(f"; corrected for train parts that overlap, {labels.share_bounds(*share_corrected(ours, theirs).bounds)}.")
    level = ours.values.sum() / theirs.values.sum()
    by_split = (ours.by_seed / level - theirs.by_seed) / theirs.mrr
    users = outcomes.over_users(ours.values, theirs.values, ours.users) / level**2
    assert again.error == pytest.approx((users + by_split.var(ddof=1) / 2) ** 0.5, rel=1e-4) and np.exp(again.log_ratio) == pytest.approx(
        level
    )


def test_winners_of_two_searches_are_compared_on_the_splits_that_both_have(planned, data, tmp_path):
    ledger, other, budget = Ledger(tmp_path), "sequence-capacity-splits", replace(TINY, trials=1, seeds=3)
    for name in ("sequence-splits", other):
        experiments.run(name, data, ledger, budget)
    last = next(record for record in ledger.read("synthetic", other).values() if record["index"] == 3 and record["arm"] == "lstm/dim 91")
    (ledger.folder("synthetic", other) / f"{last['key']}.json").unlink()
    found = outcomes.collected(Ledger(tmp_path), datasets=["synthetic"])
    table = retrained.across(found)
    mixtures = [("Mixture-LSTM", "sequences"), ("Mixture-LSTM, width 64", "sequence-capacity")]
    vectors = [("LSTM", "sequences"), *((f"LSTM, width {d}", "sequence-capacity") for d in (64, 91, 256))]
    assert [*table[["mixture", "its search", "against", "the other's search"]].itertuples(index=False, name=None)] == [
        (*ours, *theirs) for ours in mixtures for theirs in vectors
    ]
    of_arm = {
        arm: {one["index"]: ledger.arrays(one)["reciprocal_ranks"] for one in ledger.read("synthetic", name).values() if one["arm"] == arm}
        for name, arm in (("sequence-splits", "mixture_lstm"), (other, "lstm/dim 91"))
    }
    ours, theirs = ([seeds[1], seeds[2]] for seeds in of_arm.values())
    row = table.set_index(["mixture", "against"]).loc[("Mixture-LSTM", "LSTM, width 91")]
    assert (
        row["its test MRR"] == f"{np.concatenate(ours).mean():.4f}"
        and row["the other's test MRR"] == f"{np.concatenate(theirs).mean():.4f}"
    )
    gain = np.concatenate(ours).mean() / np.concatenate(theirs).mean() - 1
    assert row["gain, % of the MRR [95%]"].startswith(f"{gain:+.0%} [") and set(table["ahead on splits"].str[-4:]) == {"of 2"}
    assert row["trials of both, seeds"] == "1 of 2 and 1 of 2, 2 of 15"
    assert row["ahead on splits"] == f"{sum(a.mean() > b.mean() for a, b in zip(ours, theirs, strict=True))} of 2"
    level = gain + 1
    by_split = np.array([a.mean() / level - b.mean() for a, b in zip(ours, theirs, strict=True)]) / np.concatenate(theirs).mean()
    error = by_split.std(ddof=1) * np.sqrt(1 / 2 + 0.1 / 0.8)
    low, high = (np.expm1(np.log(level) + side * error * stats.t.ppf(0.975, 1)) for side in (-1, 1))
    assert row["corrected"] == labels.share_bounds(low, high)
    assert len(retrained.again_verdicts(found, splits=True)) == 1 and len(retrained.splits(found)) == 2  # winners of main studies alone
    assert len(retrained.across({key: one for key, one in found.items() if key[1] != other})) == 1  # a row that says so


def test_a_winner_on_other_splits_counts_before_those_of_other_arms_are_trained_there(planned, data, tmp_path, monkeypatch):
    monkeypatch.setattr(plans, "_best", lambda trials, records: trials[-1])  # with one trial another would win, of which there are no seeds
    ledger, other = Ledger(tmp_path), "sequence-capacity-splits"
    experiments.run("sequence-splits", data, ledger, TINY)
    experiments.run("sequence-capacity", data, ledger, replace(TINY, seeds=1))
    experiments.run(other, data, ledger, TINY, arms=["lstm/dim 91"])
    found = outcomes.collected(ledger, datasets=["synthetic"])
    results = found["synthetic", other]
    assert list(results.outcomes) == ["lstm/dim 91"] and results.selection.trials == results.selection.seeds == 2
    assert results.selection.ahead == ["lstm/dim 64", "lstm/dim 256", "mixture_lstm/dim 64"] and not results.done
    assert results.missing == len(results.selection.missing) == 4 * 15 - 2
    table = retrained.across(found)[["mixture", "against"]].to_numpy().tolist()
    assert table == [["Mixture-LSTM", "LSTM"], ["Mixture-LSTM", "LSTM, width 91"]]


def test_more_seeds_are_compared_without_those_of_the_main_study(planned, data, tmp_path):
    ledger = Ledger(tmp_path)
    experiments.run("sequence-seeds", data, ledger, replace(TINY, trials=1))
    found = outcomes.collected(ledger, datasets=["synthetic"])
    assert set(found) == {("synthetic", "sequence-seeds"), ("synthetic", "sequences")}
    results = found["synthetic", "sequence-seeds"]
    ours, theirs = (np.mean([ledger.arrays(record)["reciprocal_ranks"] for record in ledger.read("synthetic", "sequence-seeds").values()
                             if record["arm"] == arm], axis=0) for arm in ("mixture_lstm", "lstm"))  # fmt: skip
    one = Evidence.of(results, "mixture_lstm", "lstm")
    assert one.gap.difference == pytest.approx((ours - theirs).mean(), abs=1e-6) and one.budget == "1 of 2 trials, 2 of 15 seeds"
    row = retrained.more_seeds(found).set_index("model").loc["Mixture-LSTM"]
    assert (row["data set"], row["difference [95%]"], row[reports.OVER_SEEDS]) == ("Synthetic", one.over_users, one.over_seeds)
    assert retrained.splits(found).shape[0] == retrained.more_seeds({}).shape[0] == 1
    assert retrained.again_verdicts(found, splits=False) == [reports.NOTHING]  # the main study has no seeds yet
    assert f"* Synthetic, more seeds alone {one}" in verdicts.claims(found, {})["found here, test MRR [95%]"].iloc[0]
    experiments.run("sequences", data, ledger, TINY)
    found = outcomes.collected(ledger, datasets=["synthetic"])
    few, more = (share(*(found["synthetic", name].outcomes[arm] for arm in ("mixture_lstm", "lstm")))
                 for name in ("sequences", "sequence-seeds"))  # fmt: skip
    (said,) = retrained.again_verdicts(found, splits=False)
    assert (
        f": {few} of the MRR with 2 seeds of the main study, {more} with {found['synthetic', 'sequence-seeds'].selection.seeds} others ("
        in said
    )


def test_the_search_without_early_stopping_is_shown_below_the_main_one(planned, data, tmp_path):
    ledger, nothing = Ledger(tmp_path), [["nothing is recorded yet"]]
    experiments.run("sequences", data, ledger, TINY)
    alone = outcomes.collected(ledger, datasets=["synthetic"])
    assert retrained.patience(alone).to_numpy().tolist() == nothing and retrained.patience_verdicts(alone, ledger) == [reports.NOTHING]
    experiments.run("sequence-patience", data, ledger, TINY)
    found = outcomes.collected(ledger, datasets=["synthetic"])
    stopping, patient = found["synthetic", "sequences"], found["synthetic", "sequence-patience"]
    assert retrained.more_seeds(found).to_numpy().tolist() == nothing
    table = retrained.patience(found)
    assert table[["patience", "model"]].to_numpy().tolist() == [[10, "LSTM"], [10, "Mixture-LSTM"], [100, "LSTM"], [100, "Mixture-LSTM"]]
    lstm, one = patient.outcomes["lstm"], Evidence.of(patient, "mixture_lstm", "lstm")
    epochs = sorted(record["best_epoch"] for record in lstm.records)
    assert table["best epochs"][2] == f"{epochs[0]} to {epochs[1]}" and table["trials, seeds"][2] == "2 of 2, 2 of 2"
    assert table["below 80% of the median"][2] == f"{(lstm.by_seed < 0.8 * lstm.by_seed.mean()).sum()} of 2"
    assert table[["difference [95%]", reports.OVER_SEEDS]].to_numpy().tolist()[3] == [one.over_users, one.over_seeds]
    costs, gains_more, by_setting, *_, last, mixture_by_setting = retrained.patience_verdicts(found, ledger)
    before, after = (searching.trials_of(one, ledger) for one in (stopping, patient))
    for line, who, ours, theirs in (
        (by_setting, "Synthetic: LSTM, patience of 100 against one of 10", after["lstm"], before["lstm"]),
        (mixture_by_setting, "Synthetic, Mixture-LSTM without early stopping against LSTM", after["mixture_lstm"], after["lstm"]),
    ):
        gap = ours[1] - theirs[1]
        assert line.startswith(f"{who}, setting by setting: ahead in {(gap > 0).sum()} of 2 search trials, mean difference ")
        assert f" {labels.with_interval(*searching.student(gap), sign=True)} in test MRR." in line
    never = "Synthetic: LSTM: of 4 trainings to the last epoch, a patience of 10 would have stopped {} before their best epoch, and"
    assert costs == f"{never.format(0)} the mean validation MRR would be 0.000 lower."  # two epochs
    late = {"best_epoch": 13, "validation": {"mrr": 0.5}, "validation_mrr": {"1": 0.1, **{str(e): 0.0 for e in range(2, 13)}, "13": 0.5}}
    longer = replace(lstm, records=[lstm.records[0], lstm.records[1] | late])
    also = found | {("synthetic", "sequence-patience"): replace(patient, outcomes=patient.outcomes | {"lstm": longer})}
    assert retrained.patience_verdicts(also, ledger)[0] == f"{never.format(1)} the mean validation MRR would be 0.100 lower."
    assert retrained.short_seeds(found)["seeds"].tolist() == [4]  # where nothing stops early, no training stopped early
    unfinished = replace(patient, selection=replace(patient.selection, trials=1))
    assert (
        "(1 of 2 trials, 2 of 2 seeds against 2 of 2 trials, 2 of 2 seeds)"
        in retrained.patience_verdicts(found | {("synthetic", "sequence-patience"): unfinished}, ledger)[1]
    )
    more = Evidence.between(lstm, stopping.outcomes["lstm"])
    assert gains_more == reports.sentence("Synthetic: LSTM with a patience of 100", more, "one of 10")
    assert last == reports.sentence("Synthetic, Mixture-LSTM without early stopping", one, "LSTM")
    assert f"* Synthetic, no early stopping {one}" in verdicts.claims(found, {})["found here, test MRR [95%]"].iloc[0]
    other = {(dataset, name): results for (dataset, name), results in found.items() if name != "sequences"}
    assert retrained.patience(other).to_numpy().tolist() == nothing  # nothing to compare with


def test_how_long_trainings_waited_for_a_better_validation(found):
    curve = {"1": 0.1, "2": 0.3, "3": 0.2, "10": 0.3, "5": 0.2, "11": 0.4}  # the epochs 2, 3, 5, 10 and 11: the last is the fourth after
    one = {"validation_mrr": curve, "definition": {"training": {"patience": 5}}}
    assert retrained.longest_wait(one) == 0.8 and retrained.longest_wait(one | {"validation_mrr": {"1": 0.1}}) == 0
    assert retrained.longest_wait(one | {"validation_mrr": {"1": 0.2, "2": 0.1}}) == 0  # nothing came of the wait
    results = found["synthetic", "sequences"]
    lstm = results.outcomes["lstm"]
    made = replace(lstm, records=[record | one for record in lstm.records])
    shown = {("synthetic", "sequences"): replace(results, outcomes={"lstm": made, "mixture_lstm": results.outcomes["mixture_lstm"]})}
    [row] = retrained.waits(shown).to_dict("records")
    assert row == {"data set": "Synthetic", "LSTM": "2 of 2", "Mixture-LSTM": "0 of 2"}
    assert retrained.waits({}).to_numpy().tolist() == [["nothing is recorded yet"]]


@pytest.mark.parametrize("patience, best, reached", [(1, 1, 0.2), (2, 4, 0.3), (3, 4, 0.3), (4, 9, 0.5), (100, 9, 0.5)])
def test_where_a_training_would_have_stopped(patience, best, reached):
    curve = {"1": 0.2, "2": 0.1, "4": 0.3, "5": 0.3, "6": 0.1, "8": 0.2, "9": 0.5, "10": 0.5}  # not every epoch was validated
    assert retrained.stopped({"validation_mrr": curve}, patience) == (best, reached)


def test_a_study_for_one_data_set_is_not_planned_for_others():
    table = progress.table({}, ["movielens-100k", "movielens-1m"]).set_index("study")
    assert table.loc["factorization-splits"].tolist() == ["none", "not planned"]
    rows, _ = progress.status(Ledger("nowhere"), ["movielens-100k", "movielens-1m"])
    assert rows[rows["study"] == "factorization-splits"]["dataset"].tolist() == ["movielens-100k"]
    assert rows[rows["study"] == "factorization-splits"]["missing"].tolist() == [3 * outcomes.PROFILES["paper"].seeds]


# --- gains


@pytest.mark.parametrize(
    "p_values, adjusted",
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # sorted .005 .01 .03 .04 times 4 3 2 1, and never below the one before
        ([0.5], [0.5]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([], []),
    ],
)
def test_holms_correction_of_cases_made_by_hand(p_values, adjusted):
    assert reports.holm(p_values) == pytest.approx(adjusted)


def test_holm_keeps_the_family_from_erring():
    drawn = np.random.default_rng(0).random((2000, 10))
    assert np.mean([reports.holm(p).min() < 0.05 for p in drawn]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(drawn.min(axis=1) < 0.05) > 0.35


def test_the_family_holds_every_comparison_once(found):
    table = gains.family(found)
    assert sorted(table["mixture"]) == ["embedding_mixture", "mixture_lstm", "projection_mixture"]
    results = found["synthetic", "sequences"]
    one = Evidence.of(results, "mixture_lstm", "lstm")
    gap, wide = one.gap, one.wide
    assert table.set_index("mixture").loc["mixture_lstm", ["gain", "low", "high", "p"]].tolist() == [gap.difference, *wide, gap.p_value]
    assert (table["holm"] >= table["p"]).all() and gains.family({}).empty


def test_the_table_of_gains_corrects_for_all_its_rows(found):
    main = {key: results for key, results in found.items() if key[1] in outcomes.MAIN}
    shown, family = reports.gains(main), gains.family(main)
    assert shown["Wilcoxon p, Holm"].tolist() == [reports.p_value(p) for p in family["holm"]] and len(shown) == 3
    wide = reports.holm(Evidence.of(results, *pair).p for results in main.values() for pair in results.mixtures)
    assert shown["p of users and seeds, Holm"].tolist() == [reports.p_value(p) for p in wide]
    lone = {
        key: replace(one, outcomes={arm: replace(outcome, by_seed=outcome.by_seed[:1]) for arm, outcome in one.outcomes.items()})
        if key[1] == "factorization"
        else one
        for key, one in main.items()
    }
    p = Evidence.of(main["synthetic", "sequences"], "mixture_lstm", "lstm").p
    assert reports.gains(lone)["p of users and seeds, Holm"].tolist() == [
        reports.p_value(p),
        "",
        "",
    ]  # what has one seed is no part of the family
    wide = Evidence.of(found["synthetic", "sequences"], "mixture_lstm", "lstm").wide
    assert shown.set_index("mixture").loc["Mixture-LSTM", "users and seeds"] == f"[{wide[0]:+.3f}, {wide[1]:+.3f}]"


def test_gain_against_skew_says_how_few_points_there_are(found):
    table = gains.gain_by_skew(found, {"synthetic": 3.5})
    assert set(table["ratio"]) == {3.5} and all("1 data set, too few" in said for said in gains.skew_verdicts(table))
    many = pd.concat([table.assign(dataset=str(i), ratio=float(i), relative=-0.1 * i) for i in range(5)])
    assert all("rho -1.00 over 5 data sets (p 0.02)" in said for said in gains.skew_verdicts(many))  # 2 of 120 orders
    four = gains.skew_verdicts(many[many["dataset"] != "0"])
    assert all("4 data sets, too few" in said for said in four)
    assert gains.skew_verdicts(gains.family({})) == ["No records yet: nothing can be said."]


def test_intervals_resample_users_and_not_their_rows():
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(30), 40)
    ours = random.random(30)[users]  # a user's rows are all the same: forty of them say no more than one
    mean, (low, high) = evaluation.ratio(ours, np.ones(1200), users)
    assert mean == pytest.approx(ours.mean()) and 0.15 < high - low < 0.35  # of 1,200 rows it would be 0.03
    rows = pd.DataFrame({"user": users, "gain": ours, "single": 0.5, "history": users % 2 + 1.0})
    for (low, high), (_, part) in zip(
        (gains.gain_in(part)[1] for _, part in rows.groupby("history")), rows.groupby("history"), strict=True
    ):
        other = interval(part["gain"].to_numpy(), part["user"].to_numpy())
        assert (low, high) == pytest.approx(other, abs=0.15 * (high - low)) and 0.2 < high - low < 0.45
    odd, even = (part for _, part in rows.groupby("history"))
    assert gains.by_quarter(rows, "history")["gain [95%]"].tolist() == [
        labels.with_interval(*gains.gain_in(part), sign=True) for part in (odd, even)
    ]
    assert gains.by_quarter(rows, "history")[gains.APART].tolist() == [labels.with_interval(*gains.gain_in(even, odd), sign=True), ""]


def test_a_gain_in_a_part_is_that_of_an_outcome_of_this_part_alone():
    random = np.random.default_rng(1)
    ours, theirs = random.random((5, 80)) + random.normal(0, 0.1, (5, 1)), random.random((5, 80))
    rows = pd.DataFrame({"user": np.arange(80) // 2, "gain": ours.mean(0) - theirs.mean(0)})
    rows = rows.assign(**{f"ours {i}": ours[i] for i in range(5)}, **{f"theirs {i}": theirs[i] for i in range(5)})
    first, last = rows.iloc[:30], rows.iloc[50:]
    arms = [outcomes.Outcome("", each[:, :30].mean(0), first["user"].to_numpy(), each[:, :30].mean(1), [], {}) for each in (ours, theirs)]
    assert gains.gain_in(first)[1] == pytest.approx(outcomes.estimate(*arms).bounds)
    apart, (low, high) = gains.gain_in(last, first)
    assert apart == pytest.approx(last["gain"].mean() - first["gain"].mean()) == (low + high) / 2
    sides = [each[:, 50:].mean(1) - each[:, :30].mean(1) for each in (ours, theirs)]  # what a seed adds for everybody is in both parts
    users = [outcomes.over_users(part["gain"].to_numpy(), np.ones(30), part["user"].to_numpy()) for part in (first, last)]
    error, freedom = outcomes.added(sum(users), sides)  # no user is in both
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * error, rel=0.02)


def test_the_band_of_a_search_holds_90_of_100_orders():
    trials = np.arange(1.0, 22)
    curve = searching.curve_table({("synthetic", "sequences"): {"lstm": np.stack([trials] * 3, axis=1)}})
    assert curve[["5%", "median", "95%"]].iloc[0].tolist() == [2, 11, 20]


def test_a_ratio_of_means_has_an_interval_by_user():
    random = np.random.default_rng(0)
    theirs = random.random(500)
    mean, (low, high) = evaluation.ratio(0.8 * theirs, theirs, np.arange(500))
    assert (mean, low, high) == pytest.approx((0.8, 0.8, 0.8))
    mean, (low, high) = evaluation.ratio(0.8 * random.random(500), theirs, np.arange(500))
    assert low < mean < high and low == pytest.approx(mean, abs=0.12)


@pytest.mark.parametrize("name, arm", [("sequences", "mixture_lstm"), ("factorization", "embedding_mixture")])
def test_who_gains_adds_up_to_the_gain(name, arm, found, data, ledger):
    results = found["synthetic", name]
    rows = gains.who_gains(results, arm, data, ledger)
    assert rows["gain"].mean() == pytest.approx(Evidence.of(results, arm, results.arms[0]).gap.difference, rel=1e-6)
    split = experiments.split_of(results.selection.winners[arm]["definition"], data)
    if name == "factorization":
        user = rows.iloc[3]["user"]
        counts = np.bincount(split.train.items, minlength=data.n_items + 1)
        assert rows.iloc[3]["history"] == (split.train.users == user).sum()
        assert rows.iloc[3]["popularity"] == pytest.approx(counts[split.test.items[split.test.users == user]].mean())
    else:
        assert rows["history"].tolist() == [(window[:-1] > 0).sum() for window in split.test.items]
    assert rows["effective_tastes"].equals(rows["effective_tastes"].round(4))  # quarters are not cut by rounding
    for what in ("history", "popularity", "effective_tastes"):
        quarters = gains.by_quarter(rows, what)
        assert 1 <= len(quarters) <= 4 and quarters["windows or users"].sum() == len(rows)
    assert gains.by_quarter(rows.assign(effective_tastes=np.nan), "effective_tastes").iloc[0, 0] == "not recorded"
    every = gains.by_quarters(rows)
    assert set(every["by"]) == {"length of history", "popularity of the target", "effective tastes"}
    without = gains.by_quarters(gains.who_gains(results, arm, data, None))
    assert without[without["by"] == "effective tastes"]["quarter"].tolist() == ["not recorded"]
    assert without[without["by"] != "effective tastes"].equals(every[every["by"] != "effective tastes"])
    wide = gains.gain_in(rows)[1]
    assert wide == pytest.approx(Evidence.of(results, arm, results.arms[0]).wide, rel=1e-4)


def test_the_factorial_lists_cells_that_were_not_run(planned, tmp_path):
    names = ["synthetic:users=90,items=40,clusters=4,length=20.0,tastes=1", "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=3"]
    made = synthetic.from_name(names[1])
    experiments.run("sequences", made, Ledger(tmp_path), replace(TINY, trials=1, seeds=1))
    table = gains.factorial(Ledger(tmp_path), names)
    assert tables.cells(table).to_numpy().tolist() == [["nothing is recorded yet"]]  # one seed decides nothing
    table = table.set_index(["tastes", "mixture"])
    gap = Evidence.of(outcomes.recorded(Ledger(tmp_path), names[1], "sequences"), "mixture_lstm", "lstm").gap
    assert table.loc[(3, "mixture_lstm"), ["trials", "gain", "low"]].tolist() == [1, gap.difference, gap.low]
    assert tables.factorial_progress(gains.factorial(Ledger(tmp_path), names)) == [
        "Generated users, sequences: 1 of 2 cells, with 1 to 1 of 20 search trials, 1 to 1 of 5 seeds.",
        "Generated users, factorization: 0 of 2 cells.",
    ]
    assert table["trials"].sum() == 1 and table["gain"].notna().sum() == 1 and len(table) == 10
    assert len(gains.factorial(Ledger(tmp_path))) == 5 * 32


@pytest.mark.parametrize("control", [reports.WIDE, reports.HALF])
def test_the_factorial_has_intervals_for_other_seeds_and_comparisons_with_larger_vectors(control, planned, tmp_path):
    name, (study, *arms) = "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=3", (reports.SIZE, reports.MIXTURE, control)
    experiments.run(study, synthetic.from_name(name), Ledger(tmp_path), replace(TINY, trials=1, seeds=2))
    table = gains.factorial(Ledger(tmp_path), [name]).set_index(["mixture", "against"])
    results = outcomes.recorded(Ledger(tmp_path), name, study)
    one = Evidence.of(results, *arms)
    assert tuple(table.loc[tuple(arms), ["low", "high"]]) == one.wide != (one.gap.low, one.gap.high)
    every = table.reset_index()
    points = [len(box[0].get_xdata()) for box in figures.gains(gains.gain_by_skew({}, {}), every, pooling.means({})).axes[2].containers]
    assert points == [1]  # of the mixture against the baseline alone
    main = every.loc[(every["protocol"] == "factorization") & every["gain"].notna(), "relative"]
    at = every["relative"]
    for low, high, arrows in ((-9.0, 9.0, ["v", "^"]), (at, 9.0, ["^"]), (at, at, []), (at - 0.01 * at.abs(), at, [])):
        wide = every.assign(**{"relative low": low, "relative high": high})
        panel = figures.gains(gains.gain_by_skew({}, {}), wide, pooling.means({})).axes[2]
        ends = {line.get_marker(): line.get_ydata()[0] for line in panel.lines if not line.get_clip_on()}
        limits = dict(zip("v^", panel.get_ylim(), strict=True))
        assert list(ends) == arrows and ends == {mark: limits[mark] for mark in arrows}
        assert [abs(end) for end in ends.values()] == pytest.approx([150 * main.abs().max()] * len(arrows))
    [shown] = tables.cells(every).to_dict("records")
    gained = every.set_index(["mixture", "against"]).loc[tuple(arms)]
    assert shown["tastes"] == 3 and shown["trials"] == "0 / 1 / 1" and shown["seeds"] == "0 / 2 / 2"
    assert shown[tables.over(*arms)].strip("*").startswith(f"{gained['relative']:+z.1%} [") and shown["Mixture-LSTM over LSTM"] == ""
    sequences = every["protocol"] == "sequences"  # of one seed: they decide nothing, and are said to be done
    [fewer] = tables.cells(every.assign(seeds=every["seeds"].mask(sequences, 1), trials=every["trials"].mask(sequences, 20))).to_dict(
        "records"
    )
    assert (fewer["trials"], fewer["seeds"]) == ("20 / 1 / 1", "1 / 2 / 2") and fewer["Mixture-LSTM over LSTM"] == ""


def test_cells_and_effects_are_in_bold_where_they_are_decided():
    low, high = np.array([[0.0004, 0.02], [-0.0004, 0.02], [-0.02, -0.0004]]).T
    three = pd.DataFrame({"tastes": [1, 2, 4], "stickiness": 0.9, "skew": 0.4, "twins": 0.0, "protocol": "sequences",
                          "mixture": "mixture_lstm", "against": "lstm", "trials": 8, "seeds": 5, "relative": (low + high) / 2,
                          "relative low": low, "relative high": high})  # fmt: skip
    assert tables.cells(three)["Mixture-LSTM over LSTM"].tolist() == [
        "**+1.0% [+0.0%, +2.0%]**", "+1.0% [-0.0%, +2.0%]", "**-1.0% [-2.0%, -0.0%]**",
    ]  # fmt: skip
    effects = tables.effects(grid(lambda cell: 0.02 * (cell["tastes"] == 4)))["Mixture-LSTM over LSTM"]
    assert [effect.startswith("**+0.020") for effect in effects] == [True, False, False, False]


def test_seeds_that_fall_short_are_counted_and_those_among_them_that_stopped_early(found):
    results = found["synthetic", "factorization"]
    first, second, *_ = results.outcomes.values()

    def trained(outcome, mrr, epochs):
        search = outcome.search | {"test": {"mrr": max(mrr)}}
        return replace(outcome, by_seed=np.array(mrr), records=[{"best_epoch": epoch} for epoch in epochs], search=search)

    made = {
        first.arm: trained(first, [0.10, 0.11, 0.07, 0.079], [50, 60, 10, 55]),  # the median is 0.0895: 0.07 is short, and early
        second.arm: trained(second, [0.2, 0.1, 0.21], [20, 20, 20]),  # one is short, and as late as the others
    }
    some = {("synthetic", "factorization"): replace(results, outcomes=made)}
    assert retrained.short_seeds(some).to_dict("records") == [
        {"dataset": "synthetic", "family": "factorization", "seeds": 7, "short": 2, "early": 1, "short of search": 3}
    ]
    [said] = retrained.short_verdicts(retrained.short_seeds(some))
    assert "Of 7 trainings" in said and ", 2 reach less than 80%" in said and "of these, 1 have" in said
    assert retrained.short_table(retrained.short_seeds(some)).to_numpy().tolist() == [["Synthetic", "factorization", 7, 2, 1, 3]]
    lone = {("synthetic", "factorization"): replace(results, outcomes={first.arm: trained(first, [0.1], [5])})}
    for nothing in (
        {},
        lone,
        {("synthetic", "factorization"): replace(results, outcomes={first.arm: trained(first, [0.1, 0.01], [0, 0])})},
    ):
        assert retrained.short_seeds(nothing).empty and retrained.short_verdicts(retrained.short_seeds(nothing)) == []


def test_models_that_have_not_begun_leave_the_seeds_of_others_counted(planned, data, tmp_path):
    ledger = Ledger(tmp_path)
    experiments.run("factorization", data, ledger, TINY, arms=["factorization", "embedding_mixture"])
    found = outcomes.recorded(ledger, "synthetic", "factorization")
    assert found.done and found.selection.ahead == ["projection_mixture"] and found.missing == TINY.trials + TINY.seeds
    last = next(one for one in ledger.read("synthetic", "factorization").values() if one["stage"] == "search" and one["index"] == 1)
    (ledger.folder("synthetic", "factorization") / f"{last['key']}.json").unlink()  # another trial may win: all seeds may be needed
    found = outcomes.recorded(Ledger(tmp_path), "synthetic", "factorization")
    assert found.missing == 1 + TINY.trials + 3 * TINY.seeds


def test_seeds_of_a_study_beside_another_are_missing_while_the_other_still_searches(planned, data, tmp_path):
    own = STUDIES[reports.SIZE].own
    experiments.run(reports.SIZE, data, Ledger(tmp_path), replace(TINY, seeds=1), arms=own)
    row = progress.status(Ledger(tmp_path), ["synthetic"])[0].set_index("study").loc[reports.SIZE]
    assert row["arms"] == "2 of 2" and row["missing"] == len(own) * (TINY.seeds - 1)  # not the search of the others


def test_the_mixture_stands_against_larger_vectors_where_a_search_is_complete(planned, tmp_path, monkeypatch):
    name, ledger = "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=2,stickiness=0.9,skew=0.4,twins=0.0", Ledger(tmp_path)
    monkeypatch.setattr(tables, "FACTORIAL", (name, name.replace("twins=0.0", "twins=0.5"), synthetic.FACTORIAL[0]))
    experiments.run(reports.SIZE, synthetic.from_name(name), ledger, replace(TINY, trials=1))
    assert list(tables.size_by_tastes(ledger)) == [""]
    experiments.run(reports.SIZE, synthetic.from_name(name), ledger, TINY)
    [row] = tables.size_by_tastes(ledger).to_dict("records")
    outcome = outcomes.recorded(ledger, name, reports.SIZE).outcomes
    for arm, words in (("factorization", "of the same width"), (reports.HALF, "half as large"), (reports.WIDE, "as large")):
        one = share(outcome[reports.MIXTURE], outcome[arm])
        said, (low, high) = f"{one.gain:+z.1%} [{one.bounds[0]:+z.1%}, {one.bounds[1]:+z.1%}]", one.bounds
        assert row[f"over a vector {words}"] == (f"**{said}**" if low > 0 or high < 0 else said)
    assert [*row.values()][:4] == [2, 0.9, 0.4, 0.0] and row[
        tables.SPENT
    ] == f"{TINY.trials} of {TINY.trials}, {TINY.seeds} of {TINY.seeds}"
    gaps = [Evidence.between(outcome[reports.MIXTURE], outcome[arm]) for arm in (reports.HALF, reports.WIDE)]
    sides, left = [one.side for one in gaps], reports.holm(one.p for one in gaps)
    assert tables.size_by_tastes_verdicts(ledger) == [
        f"Users of several tastes, {who}: of 2 comparisons with larger vectors the mixture is ahead in {sides.count('ahead')} and behind "
        f"in {sides.count('behind')}, decided; left by Holm's correction for their number: {sum(left < 0.05) or 'none'}, smallest p "
        f"{reports.p_value(min(left))}."
        for who in ("with a chance of 0.9 to stay in one", "all")
    ]
    assert tables.size_by_tastes_verdicts(Ledger(tmp_path / "none")) == [reports.NOTHING]


def test_numbers_of_tastes_stand_beside_the_true_number(planned, tmp_path):
    name, study = (
        "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=2,stickiness=0.9,skew=0.4,twins=0.0",
        "factorization-components",
    )
    experiments.run(study, synthetic.from_name(name), Ledger(tmp_path), replace(TINY, trials=1, seeds=2))
    table = gains.by_components(Ledger(tmp_path), [name, synthetic.FACTORIAL[0]]).set_index("m")
    results = outcomes.recorded(Ledger(tmp_path), name, study)
    assert list(table.index) == [1, 2, 4, 6, 8, 12] and set(table["tastes"]) == {2}
    assert table.loc[1, "gain"] == 0 and table.loc[1, ["low", "high"]].isna().all()  # it is not compared with itself
    for m in (2, 12):
        arms = f"embedding_mixture/{m}", "embedding_mixture/1"
        one = Evidence.of(results, *arms)
        assert (table.loc[m, "gain"], *table.loc[m, ["low", "high"]]) == (one.gap.difference, *one.wide)
        assert table.loc[m, "relative"] == pytest.approx(one.gap.difference / results.outcomes[arms[1]].mrr)
    row, two = tables.true_tastes(table.reset_index()).to_dict("records")  # no main study: one single vector
    assert (
        row["true tastes"] == 2
        and (row["against"], row["test MRR"]) == ("m = 1", f"{table.loc[1, 'mrr']:.3f}")
        and row[tables.SPENT] == "1 of 8, 2 of 5"
    )
    assert row["m = 12 minus it [95%]"] == labels.with_interval(table.loc[12, "gain"], tuple(table.loc[12, ["low", "high"]]), sign=True)
    arms = "embedding_mixture/12", "embedding_mixture/2"
    one = Evidence.of(results, *arms)
    assert (two["against"], two["test MRR"], two["m = 2 minus it [95%]"]) == ("m = 2", f"{table.loc[2, 'mrr']:.3f}", "")
    assert two["m = 12 minus it [95%]"] == labels.with_interval(one.gap.difference, one.wide, sign=True)
    experiments.run("factorization", synthetic.from_name(name), Ledger(tmp_path), replace(TINY, trials=1, seeds=2), arms=["factorization"])
    again, plain = gains.by_components(Ledger(tmp_path), [name]), outcomes.recorded(Ledger(tmp_path), name, "factorization").outcomes
    two = Evidence.between(results.outcomes["embedding_mixture/2"], plain["factorization"])
    _, over, _ = tables.true_tastes(again).to_dict("records")
    assert (over["against"], over["m = 2 minus it [95%]"].split()[0]) == (
        "factorization of the main study (trials: 1)",
        two.over_users.split()[0],
    )
    assert tuple(again.set_index("m").loc[2, ["over low", "over high"]]) == two.wide
    drawn = figures.true_tastes(table.reset_index()).axes
    assert len(drawn) == 1 and drawn[0].containers[0].lines[0].get_ydata() == pytest.approx(100 * table["relative"].to_numpy())
    assert tables.true_tastes_verdicts(gains.by_components(Ledger(tmp_path / "none"))) == []
    cells = [tuple(synthetic.parameters(name)[key] for key in gains.CELL) for name in gains.BY_TASTES]
    assert cells == [(tastes, stays) for stays in (0.9, 0.5) for tastes in (1, 2, 4, 8)]
    both = pd.concat([table.reset_index(), table.reset_index().assign(stickiness=0.5, tastes=4)])
    assert [axes.get_title("left") for axes in figures.true_tastes(both).axes if axes.axison] == [
        "2 tastes, stays 0.9",
        "4 tastes, stays 0.5",
    ]
    assert tables.true_tastes(both)["stays"].tolist() == [0.9, 0.9, 0.5, 0.5]
    assert tables.true_tastes_verdicts(table.reset_index().query("m == 1")) == []
    figures.true_tastes(gains.by_components(Ledger(tmp_path / "none"))).canvas.draw()  # before anything was run


def test_the_sentence_on_true_tastes_says_which_are_ahead_behind_and_preferred():
    rows = [(1, 0, 0, 0, 0.1), (2, 1, 0.5, 2, 0.2), (4, 1, 0.1, 2, 0.4), (6, -1, -2, -0.5, 0.3), (8, 0.2, -1, 1, 0.1)]
    table = pd.DataFrame(rows, columns=["m", "gain", "low", "high", "validation"]).assign(tastes=4, stickiness=0.9, seeds=2, mrr=0.3)
    table = table.assign(**{"factorization": 0.31, "its trials": 2.0})
    who = "True number of tastes 4, chance to stay 0.9"
    ahead = f"{who}: ahead of m = 1: m = 2, 4; behind it: m = 6; undecided: m = 8. The best on validation has m = 4."
    other = " With m = 1 the test MRR is 0.300; the same model reached 0.310 in the main study (search trials: 2)."
    assert tables.true_tastes_verdicts(table) == [ahead + other]
    alone = f"{who}: one seed, so not judged. The best on validation has m = 4. With m = 1 the test MRR is 0.300."
    assert tables.true_tastes_verdicts(table.assign(**{"seeds": 1, "its trials": 0})) == [alone]


def grid(gain, half=0.01):
    """A factorial of every level in CONTRASTS whose gain is a function of the cell, with intervals of one width."""
    levels = pd.MultiIndex.from_product(gains.CONTRASTS.values(), names=list(gains.CONTRASTS)).to_frame(index=False)
    gained = levels.apply(gain, axis=1)
    gained = gained.groupby(levels["stickiness"].where(levels["tastes"] > 1, 0).astype(str) + levels["skew"].astype(str)
                            + levels["twins"].astype(str) + levels["tastes"].astype(str)).transform("first")  # the same data  # fmt: skip
    return levels.assign(mixture="mixture_lstm", against="lstm", trials=4, seeds=2, gain=gained, low=gained - half, high=gained + half)


def test_effects_of_a_factorial_are_those_that_were_put_in():
    found = gains.effects(grid(lambda cell: 0.02 * (cell["tastes"] == 4) - 0.1 * cell["twins"] + 0.03)).set_index("property")
    assert found["effect"].to_numpy() == pytest.approx([0.02, 0, 0, -0.05])
    # 4 cells of one taste, each in two pairs, and 8 of four; the chance to stay is compared among the latter; the others have 6 pairs
    assert found["pairs"].tolist() == [8, 4, 6, 6]
    widths = [np.sqrt(4 * 2**2 + 8) / 8, np.sqrt(8) / 4, np.sqrt(12) / 6, np.sqrt(12) / 6]
    assert (found["high"] - found["effect"]).to_numpy() == pytest.approx([0.01 * width for width in widths])
    shown = "+0.000 [-0.006, +0.006] (6: +0.000 to +0.000)"
    assert tables.effects(grid(lambda cell: 0.0)).iloc[3].tolist() == ["chance of a twin", "0 to 0.5", shown]
    some = gains.effects(grid(lambda cell: 0.02 * (cell["tastes"] == 4) * (cell["skew"] == 0.4))).set_index("property")
    assert some.loc["tastes", ["least", "most"]].tolist() == pytest.approx([0, 0.02])
    assert some.loc["skew", ["least", "most"]].tolist() == pytest.approx([-0.02, 0])


def test_effects_need_cells_that_differ_in_nothing_else():
    table = grid(lambda cell: cell["twins"])
    found = gains.effects(table[table["stickiness"] == 0.9]).set_index("property")
    assert found["pairs"].tolist() == [4, 0, 4, 4] and np.isnan(found.loc["stickiness", "effect"])
    assert found.loc["twins", "effect"] == pytest.approx(0.5)
    assert len(tables.effects(table[table["stickiness"] == 0.9])) == 3
    (one,) = tables.effects(table[(table["tastes"] == 4) & (table["skew"] == 0.4) & (table["stickiness"] == 0.9)]).to_dict("records")
    assert one == {"property": "chance of a twin", "change": "0 to 0.5", "Mixture-LSTM over LSTM": "**+0.500 [+0.486, +0.514]** (1)"}
    assert tables.effects(table.iloc[:1]).to_numpy().tolist() == [["nothing is recorded yet"]]
    assert gains.effects(table.assign(gain=np.nan)).empty
    one_of_two = table["gain"].mask((table["tastes"] == 1) & (table["stickiness"] == 0.5))  # the same data, run once
    assert gains.effects(table.assign(gain=one_of_two))["pairs"].tolist() == [8, 4, 6, 6]
    single = gains.effects(table.assign(seeds=np.where(table["twins"] == 0.5, 1, 2))).set_index("property")
    assert single["pairs"].tolist() == [4, 2, 3, 0]  # one seed decides nothing
    unequal = gains.effects(table.assign(seeds=np.where(table["twins"] == 0.5, 3, 2)))
    assert unequal["pairs"].tolist() == [8, 4, 6, 0]  # seeds are a budget, too


def test_effects_are_of_cells_with_the_same_budget_and_the_larger_one_counts_of_the_same_data():
    table = grid(lambda cell: cell["twins"])
    early = (table["tastes"] == 4) & (table["twins"] == 0)
    unequal = table.assign(trials=np.where(early, 1, 4), gain=table["gain"] + 9 * early)  # a lucky first trial
    found = gains.effects(unequal).set_index("property")
    assert found["pairs"].tolist() == [4, 4, 6, 2] and found["effect"].to_numpy() == pytest.approx([0, 0, 0, 0.5])
    double = (table["tastes"] == 1) & (table["stickiness"] == 0.5)
    doubles = table.assign(trials=np.where(double, 1, 4), gain=table["gain"] + 9 * double)
    assert gains.effects(doubles)["effect"].to_numpy() == pytest.approx([0, 0, 0, 0.5])
    assert tables.effect_verdicts(table) == [
        "Mixture-LSTM against LSTM: chance of a twin (0 to 0.5) raises it; the other 3 of 4 compared properties: undecided."
    ]
    (none,) = tables.effect_verdicts(grid(lambda cell: 0.0))
    assert none == "Mixture-LSTM against LSTM: 4 of 4 compared properties: undecided."
    (some,) = tables.effect_verdicts(table[table["stickiness"] == 0.9])
    assert some.endswith(
        "the other 2 of 3 compared properties: undecided; no pair of cells of equal budgets for chance to stay in a taste."
    )
    assert tables.effect_verdicts(table.assign(gain=np.nan)) == [reports.NOTHING]


def test_users_of_one_taste_are_the_same_whatever_their_chance_to_stay():
    made = [synthetic.from_name(f"synthetic:users=30,items=40,clusters=4,tastes=1,stickiness={s}") for s in (0.5, 0.9)]
    assert np.array_equal(made[0].items, made[1].items)


def test_interval_of_an_effect_holds_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    truth = [0.02, 0, 0, 0]
    found = [gains.effects(grid(lambda cell: random.normal(0.02 * (cell["tastes"] == 4), 0.01), half=1.96 * 0.01)) for _ in range(200)]
    inside = [((one["low"] <= truth) & (one["high"] >= truth)).tolist() for one in found]
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_contrasts_are_levels_of_the_factorial():
    cells = [dict(part.split("=") for part in name.partition(":")[2].split(",")) for name in synthetic.FACTORIAL]
    assert all({*levels} <= {float(cell[factor]) for cell in cells} for factor, levels in gains.CONTRASTS.items())


def test_generated_users_are_not_columns_of_table_1(planned, data, tmp_path):
    ledger = Ledger(tmp_path)
    for users in (synthetic.from_name("synthetic:users=90,items=40,clusters=4,length=20.0"), data):
        experiments.run("factorization", users, ledger, replace(TINY, trials=1, seeds=1))
    assert len(ledger.datasets()) == 2 and not outcomes.collected(ledger)


# --- the search


def test_other_searches_choose_on_validation():
    one = np.array([0.3, 0.3]), np.array([0.5, 0.5])
    sure = np.array([0.1, 0.9]), np.array([0.9, 0.7])  # the second wins unless both draws are of the first: 3 in 4
    drawn = searching.other_searches(one, sure, draws=4000)
    assert set(drawn.round(6)) == {0.4, 0.2} and np.mean(drawn < 0.3) == pytest.approx(0.75, abs=0.03)
    assert searching.other_searches(sure, one, draws=4000).mean() == pytest.approx(-0.25, abs=0.01)
    assert not searching.other_searches(sure, sure).any()  # both arms have the same trials


def test_two_equal_arms_lie_outside_the_range_of_searches_in_at_most_a_fifth():
    random = np.random.default_rng(1)
    sure = 0
    for _ in range(200):  # one distribution of trials for both arms; the best of a few is too seldom drawn for the nominal 5%
        quality = 0.1 + 0.02 * (random.normal(0, 0.7, 20) + random.normal(0, 0.7, (2, 20)))  # half of it is the settings
        arms = [(row + random.normal(0, 0.002, 20), row + random.normal(0, 0.002, 20)) for row in quality]
        low, high = np.quantile(searching.other_searches(*arms, draws=500), [0.025, 0.975])
        sure += low > 0 or high < 0
    assert 0.05 * 200 < sure <= 0.2 * 200  # the caption says so


def test_searches_of_2018_win_as_often_as_drawn_ones_each_model_on_its_own():
    archive, random = benchmark("archive"), np.random.default_rng(0)
    arms = [(random.permutation(n) / n, 0.1 + 0.01 * random.random(n)) for n in (6, 9)]
    winners = []
    for validation, test in arms:
        drawn = random.integers(len(test), size=(20_000, len(test)))
        winners.append(test[[row[validation[row].argmax()] for row in drawn]])
    expected = winners[1] / winners[0] - 1
    gains, chances = archive.other_searches(*arms)
    assert len(gains) == 6 * 9 and chances.sum() == pytest.approx(1) and chances.min() > 0
    assert chances[gains > 0].sum() == pytest.approx(np.mean(expected > 0), abs=0.02)
    assert (gains * chances).sum() == pytest.approx(expected.mean(), abs=0.001)
    same = (np.array([0.1, 0.2]), np.array([0.5, 0.5]))
    assert archive.middle(*archive.other_searches(same, same)) == (0, 0, 0)
    sure = (np.array([0.1, 0.9]), np.array([0.9, 0.6]))  # the second wins in 3 of 4 searches
    gains, chances = archive.other_searches(same, sure)
    assert chances[gains > 0.5].sum() == pytest.approx(1 / 4) and archive.middle(gains, chances) == pytest.approx((0.2, 0.2, 0.8))


def test_two_equal_models_of_2018_would_lie_outside_the_range_in_about_one_of_eight():
    archive, random = benchmark("archive"), np.random.default_rng(1)
    sure = 0
    for _ in range(200):
        quality = 0.1 + 0.02 * random.normal(size=(2, 25))
        arms = [(row + random.normal(0, 0.002, 25), row + random.normal(0, 0.002, 25)) for row in quality]
        _, low, high = archive.middle(*archive.other_searches(*arms))
        sure += low > 0 or high < 0
    assert sure / 200 == pytest.approx(1 / 8, abs=0.03)  # the caption says so


def test_luck_has_a_row_for_each_mixture_with_enough_trials(found, ledger, monkeypatch):
    assert searching.luck(found, ledger).to_numpy().tolist() == [["nothing is recorded yet"]]  # two trials are too few
    monkeypatch.setattr(searching, "FEW", 2)
    table = searching.luck(found, ledger).set_index("mixture")
    assert sorted(table.index) == ["Embedding mixture", "Mixture-LSTM", "Projection mixture"] and set(table["trials"]) == {2}
    trials = searching.trials_of(found["synthetic", "sequences"], ledger)
    drawn = searching.other_searches(trials["lstm"], trials["mixture_lstm"])
    assert table.loc["Mixture-LSTM", "searches in which it gains"] == f"{np.mean(drawn > 0):.0%}"


def test_trials_of_the_same_settings_are_compared_in_pairs(found, ledger, monkeypatch):
    assert searching.same_settings(found, ledger).to_numpy().tolist() == [["nothing is recorded yet"]]  # two pairs are too few
    assert searching.same_verdicts(found, ledger) == [reports.NOTHING]
    monkeypatch.setattr(searching, "PAIRS", 2)
    table = searching.same_settings(found, ledger).set_index(["model", "against"])
    assert {("Mixture-LSTM", "LSTM"), ("Projection mixture", "Factorization"), ("Embedding mixture", "Factorization")} == set(table.index)
    made = [one for one in ledger.read("synthetic", "sequences").values() if one["stage"] == "search"]
    ours, theirs = ({one["index"]: one for one in made if one["arm"] == arm} for arm in ("mixture_lstm", "lstm"))
    assert sorted(ours) == sorted(theirs) == [0, 1]
    for index in ours:
        assert ours[index]["definition"]["training"] == theirs[index]["definition"]["training"]
    gap = [ours[index]["test"]["mrr"] - theirs[index]["test"]["mrr"] for index in (0, 1)]
    half = 12.7062 * abs(gap[0] - gap[1]) / 2  # Student's t of one degree of freedom
    row = table.loc["Mixture-LSTM", "LSTM"]
    assert (row["pairs"], row["ahead in"]) == (2, sum(one > 0 for one in gap))
    shown = [float(number) for number in re.findall(r"[+-]\d\.\d+", row["mean difference [95%]"])]
    assert shown == pytest.approx([np.mean(gap), np.mean(gap) - half, np.mean(gap) + half], abs=0.00051)
    said = searching.same_verdicts(found, ledger)[0]
    assert said.startswith(f"Mixture-LSTM against LSTM: ahead in {row['ahead in']} of 2 pairs; ")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sequence-components", [(f"mixture_lstm/{m}", "mixture_lstm/1") for m in (2, 4, 6, 8, 12)]),
        ("sequence-capacity", [("mixture_lstm/dim 64", f"lstm/dim {d}") for d in (64, 91, 256)]),
        ("factorization-size", [("embedding_mixture", f"factorization/{size}") for size in ("half as large", "as large as the mixture")]),
        (
            "sequence-losses",
            [
                (f"{kind}/adaptive_hinge", f"{kind}/{loss}")
                for kind in ("lstm", "mixture_lstm")
                for loss in (*LOSSES, "bpr of 5", "log_bpr of 5", "hinge of 5")
                if loss != "adaptive_hinge"
            ],
        ),
        ("sequence-variants", []),
    ],
)
def test_numbers_of_tastes_are_paired_with_one_and_the_mixture_with_every_width(name, expected, found, ledger, monkeypatch):
    monkeypatch.setattr(searching, "PAIRS", 2)
    some = found["synthetic", "sequences"]
    some = replace(some, selection=replace(some.selection, study=STUDIES[name]))
    trials = {arm: (np.ones(2), np.full(2, place + 1.0)) for place, arm in enumerate(STUDIES[name].arms)}
    monkeypatch.setattr(searching, "trials_of", lambda *_: trials)
    made = list(searching.pairs({("synthetic", name): some}, ledger, ("losses", "components", "capacity", "size")))
    assert [pair for _, *pair, _, _ in made] == [list(pair) for pair in expected]
    for _, arm, baseline, ours, theirs in made:
        assert (ours[0], theirs[0]) == (trials[arm][1][0], trials[baseline][1][0])


def test_a_model_that_begins_at_another_scale_is_named_by_it():
    assert labels.label("projection_mixture/gain 15") == "Projection mixture, initial scale 15"
    assert labels.label("lstm/dim 91") == "LSTM, width 91" and labels.label("mixture_lstm/4") == "Mixture-LSTM, m = 4"


def test_every_loss_of_a_study_has_a_sentence_over_all_its_models(found, ledger, monkeypatch):
    monkeypatch.setattr(searching, "PAIRS", 2)
    some = found["synthetic", "sequences"]
    some = replace(some, selection=replace(some.selection, study=STUDIES["sequence-losses"]))
    better = {"bpr": -0.05, "log_bpr": 0.05}  # than the adaptive hinge
    trials = {arm: (np.ones(3), np.array([0.1, 0.11, 0.12]) + better.get(arm.partition("/")[2], 0)) for arm in some.selection.study.arms}
    monkeypatch.setattr(searching, "trials_of", lambda *_: trials)
    said = dict(sentence.split(": ", 1) for sentence in searching.same_verdicts({("synthetic", "sequence-losses"): some}, ledger))
    assert said["Adaptive hinge against BPR as printed"].startswith(
        "ahead in 6 of 6 pairs; the mean difference lies above 0 beyond its interval in 2 of 2"
    )
    assert said["Adaptive hinge against log-BPR"].endswith(
        "lies below 0 beyond its interval in 2 of 2 (Synthetic, LSTM; Synthetic, Mixture-LSTM)."
    )
    assert said["Adaptive hinge against hinge"] == "ahead in 0 of 6 pairs; no mean difference beyond its interval."


@pytest.mark.parametrize(("gain", "words"), [(0.02, "lies above 0"), (-0.02, "lies below 0"), (0.0, "no mean difference beyond")])
def test_pairs_that_differ_beyond_their_interval_are_said(gain, words, found, ledger, monkeypatch):
    random = np.random.default_rng(0)
    single = random.uniform(0.05, 0.15, 20)
    trials = {"lstm": (single, single), "mixture_lstm": (single, np.r_[0, (single + gain + random.normal(0, 0.01, 20))[1:]])}  # one failed
    monkeypatch.setattr(searching, "PAIRS", 2)
    monkeypatch.setattr(searching, "trials_of", lambda *_: trials)
    sequences = {key: results for key, results in found.items() if key[1] == "sequences"}
    assert words in searching.same_verdicts(sequences, ledger)[0] and "of 19 pairs" in searching.same_verdicts(sequences, ledger)[0]
    assert searching.same_settings(sequences, ledger)["pairs"].tolist() == [19]


def test_best_so_far_follows_validation_and_not_test():
    found = searching.best_so_far(np.array([0.1, 0.3, 0.2]), np.array([0.9, 0.5, 0.7]), orders=500)
    assert found.shape == (500, 3) and set(found[:, -1]) == {0.5} and set(found[:, 0]) == {0.9, 0.5, 0.7}
    assert found[:, 0].mean() == pytest.approx(0.7, abs=0.03)
    assert set(map(tuple, found)) == {(0.9, 0.5, 0.5), (0.9, 0.7, 0.5), (0.5, 0.5, 0.5), (0.7, 0.7, 0.5), (0.7, 0.5, 0.5)}


def test_winners_that_trained_to_the_last_epochs_are_said(found):
    assert searching.border_verdicts({}) == [reports.NOTHING]
    late = {}
    for name in outcomes.MAIN:
        for arm, outcome in found["synthetic", name].outcomes.items():
            last = outcome.search["definition"]["training"]["epochs"]
            late[arm] = [record["best_epoch"] / last >= 0.95 for record in (outcome.search, *outcome.records)]
    listed = ", ".join(f"{labels.label(arm)} {sum(some)} of {len(some)}" for arm, some in late.items() if any(some))
    others = sum(len(some) - sum(some) for some in late.values())
    said = searching.border_verdicts(found)
    assert said[:-1] == ([f"Synthetic: {listed}; a higher limit might have helped."] if listed else [])
    assert said[-1] == f"{'The other' if listed else 'All'} {others} trainings of winners have their best epoch before that."


def test_trainings_that_end_as_popularity_does_are_counted(found, ledger, monkeypatch):
    key = ("synthetic", "factorization")
    popularity = found["synthetic", "factorization-references"].outcomes["popularity"].mrr
    trials = searching.trials_of(found[key], ledger)
    low = {arm: ((trials[arm][1] <= 1.1 * popularity).sum(), (outcome.by_seed <= 1.1 * popularity).sum())
           for arm, outcome in found[key].outcomes.items()}  # fmt: skip
    said, *last = searching.plateau_verdicts({one: found[one] for one in (key, ("synthetic", "factorization-references"))}, ledger)
    for arm, (few, seeds) in low.items():
        told = f"{labels.label(arm)} {few} of 2{f' and {seeds} of 2 seeds of the winner' if seeds else ''}"
        assert (told in said) == bool(few or seeds)
    assert any(map(any, low.values())) or said == "None: Synthetic, factorization."
    assert last == ([] if any(seeds for _, seeds in low.values()) else ["Of the seeds of the winners of main studies: none."])
    better = replace(found["synthetic", "factorization-references"].outcomes["popularity"], values=np.full(120, 9.0))
    beaten = replace(found["synthetic", "factorization-references"], outcomes={"popularity": better})
    (said,) = searching.plateau_verdicts({key: found[key], ("synthetic", "factorization-references"): beaten}, ledger)
    assert said.count("2 of 2 and 2 of 2 seeds") == 3
    searched = {key: replace(found[key], outcomes={}), ("synthetic", "factorization-references"): beaten}  # no winner has a seed yet
    said, none = searching.plateau_verdicts(searched, ledger)
    assert said.count(" 2 of 2") == 3 and "seeds" not in said and none == "Of the seeds of the winners of main studies: none."
    worst = {"popularity": replace(better, values=np.zeros(120))}  # a random order is better
    beside = {("synthetic", "factorization-references"): replace(beaten, outcomes=worst)}
    monkeypatch.setattr(type(ledger), "noted", lambda *_: {"synthetic": {"items": 1}})
    (said,) = searching.plateau_verdicts({key: found[key]} | beside, ledger)
    assert said.count("2 of 2 and 2 of 2 seeds") == 3
    assert searching.plateau_verdicts({}, ledger) == [reports.NOTHING]


def test_who_gains_is_kept_and_shown_as_long_as_its_records_are_those_of_the_ledger(found, ledger, data, monkeypatch):
    results = found["synthetic", "factorization"]
    rows = gains.extremes(results, data, ledger)
    assert [row["by"] for row in rows][:2] == ["length of history", "popularity of the target"]
    quarters = gains.by_quarter(gains.who_gains(results, "embedding_mixture", data, ledger), "history")
    assert (
        rows[0]["lowest quarter (number)"] == f"{quarters.iloc[0, 0]} ({quarters.iloc[0, 1]})"
        and rows[0]["gain in the highest [95%]"] == f"{quarters['gain [95%]'].iloc[-1]} of {quarters[gains.SINGLE].iloc[-1]}"
        and rows[0][gains.APART] == quarters[gains.APART].iloc[0]
    )
    kept = {"synthetic": {"factorization": {"records": results.marks, "rows": rows}}}
    monkeypatch.setattr(type(ledger), "noted", lambda ledger, name: {"who": kept}[name])
    assert winners.who(found, ledger)["data set"].tolist() == ["Synthetic"] * len(rows)
    first = results.outcomes["factorization"]
    again = replace(first, records=[first.records[0] | {"test": {"mrr": 0.5}}, *first.records[1:]])  # the same trial, trained again
    other = replace(results, outcomes=results.outcomes | {"factorization": again})
    assert len(winners.who(found | {("synthetic", "factorization"): other}, ledger)) == 1  # a row that says so
    kept["synthetic"]["factorization"]["records"] = ["of another winner"]
    assert len(winners.who(found, ledger)) == 1


def test_the_largest_variant_is_over_the_same_users(planned, data, tmp_path):
    assert reports.largest_variant([]) == "No variant is recorded here yet."
    experiments.run("factorization-variants", data, Ledger(tmp_path), replace(TINY, trials=1, seeds=1))
    results = outcomes.recorded(Ledger(tmp_path), "synthetic", "factorization-variants")
    said = reports.largest_variant([results])
    moved = {arm: abs(outcome.mrr - results.outcomes[base].mrr) for arm, outcome in results.outcomes.items()
             for base in [next(name for name in STUDIES["factorization-variants"].arms if name.split("/")[0] == arm.split("/")[0])]
             if "holdout" not in arm}  # fmt: skip
    assert said.startswith(f"{labels.label(max(moved, key=moved.get))} against ") and "one seed, so not judged" in said
    assert "Left out" not in said
    arm = results.outcomes[max(moved, key=moved.get)]
    arm.search["test"]["mrr"] = 2 * arm.mrr  # as if its seed had failed
    without = reports.largest_variant([results])
    assert not without.startswith(f"{labels.label(arm.arm)} against ")
    left = f" Left out, since most seeds reach less than 80% of what the search reached: {labels.label(arm.arm)} (1 of 1)."
    assert without.endswith(left)
    arm.search["test"]["mrr"] = arm.mrr
    assert reports.largest_variant([results]) == said
    base = results.outcomes["factorization"].mrr
    told = reports.variant(results, "factorization/no own positives")
    assert told.startswith(f"from {base:.3f} to {results.outcomes['factorization/no own positives'].mrr:.3f}, a difference of ")
    assert reports.variant(replace(results, outcomes={}), "factorization/no own positives") == "not recorded"
    ours = results.outcomes["factorization/no own positives"]
    others = results.outcomes | {"factorization/no own positives": ours.at(ours.users > ours.users.min())}
    assert reports.variant(replace(results, outcomes=others), "factorization/no own positives").startswith("tested on other users")


def test_where_the_first_variant_failed_the_others_are_compared_with_each_other(planned, data, tmp_path):
    gains_tried = [arm for arm in STUDIES["factorization-variants"].arms if re.fullmatch(r"projection_mixture/gain [\d.]+", arm)]
    budget = replace(TINY, trials=1, seeds=1)
    experiments.run("factorization-variants", data, Ledger(tmp_path), budget, arms=gains_tried)
    results = outcomes.study("factorization-variants", data, ledger=tmp_path, arms=gains_tried)
    failed, second, third = (results.outcomes[arm] for arm in gains_tried)
    gap = Evidence.of(results, third.arm, second.arm)
    failed.search["test"]["mrr"] = 2 * failed.mrr
    for one in (second, third):
        one.search["test"]["mrr"] = one.mrr
    said = reports.largest_variant([results])
    assert said.startswith(f"{labels.label(third.arm)} against {labels.label(second.arm)}: {gap} in test MRR")
    assert said.endswith(f": {labels.label(failed.arm)} (1 of 1).")


def test_searches_are_those_of_the_records(found, ledger):
    results = found["synthetic", "sequences"]
    for arm, (validation, test) in searching.trials_of(results, ledger).items():
        assert len(validation) == len(test) == 2 and validation.max() == results.selection.winners[arm]["validation"]["mrr"]
        assert test[validation.argmax()] == results.selection.winners[arm]["test"]["mrr"]


def test_figures_of_search_and_gains_draw_every_arm(found, ledger):
    figure, (left, right) = figures.new(2)
    curves = {arm: searching.best_so_far(*both) for arm, both in searching.trials_of(found["synthetic", "factorization"], ledger).items()}
    figures.search(left, curves, {"EASE": 0.9})
    assert [line.get_linestyle() for line in left.lines] == ["-", "-", "-", ":"]
    assert set(left.lines[-1].get_ydata()) == {0.9} and left.get_ylim()[1] > 0.9 and left.texts[0].get_text() == "EASE"
    figures.relative_gains(right, gains.gain_by_skew(found, {"synthetic": 3.5}), "ratio", "popularity ratio")
    assert set(right.get_legend_handles_labels()[1]) == {"Mixture-LSTM", "Projection mixture", "Embedding mixture"}
    figure.canvas.draw()
    both = figures.gains(gains.gain_by_skew(found, {"synthetic": 3.5}), gains.factorial(ledger, []), pooling.means(found))
    assert [text.get_text() for text in both.axes[-1].get_yticklabels()] == ["Synthetic: 3.5"]  # one data set is nothing to pool
    three = {(name, study): results for (_, study), results in found.items() for name in ("other", "some", "more")}
    ratios = {"other": 3.5, "some": 9.0, "more": 1.0}
    pooled = figures.gains(gains.gain_by_skew(three, ratios), gains.factorial(ledger, []), pooling.means(three)).axes[-1]
    assert [text.get_text() for text in pooled.get_yticklabels()] == ["all together", "More: 1.0", "Other: 3.5", "Some: 9.0"]
    assert all(sum(np.abs(np.asarray(line.get_ydata()) + 1) < 0.5) == 1 for box in pooled.containers for line in box[:1])
    (legend,) = both.legends
    assert len(legend.get_texts()) == 3 and all(axes.get_legend() is None for axes in both.axes)


def test_points_of_one_place_stand_side_by_side():
    table = pd.DataFrame({"mixture": ["b", "a", "b", "a"], "tastes": [1, 1, 4, 1], "relative": [0.1, 0.2, 0.3, 0.4]})
    shown = figures.apart(table, "tastes", 0.9)
    assert shown["mixture"].tolist() == ["a", "a", "b", "b"] and shown["relative"].tolist() == [0.2, 0.4, 0.1, 0.3]
    assert shown["tastes"].to_numpy() == pytest.approx([0.7, 1.0, 1.3, 4.0])


def test_progress_says_for_every_study_what_is_done_of_what_is_planned(found):
    table = progress.table(found, NAMES).set_index("study")["Synthetic"]
    assert table["sequences"] == table["factorization-references"] == "2 of 2, 2 of 2" and table["sequence-losses"] == "none"
    assert list(table.index) == list(STUDIES)


def test_arms_that_have_not_begun_are_counted_in_the_progress(planned, data, tmp_path):
    experiments.run("sequence-components", data, Ledger(tmp_path), replace(TINY, trials=1, seeds=1), arms=["mixture_lstm/2"])
    table = progress.table(outcomes.collected(Ledger(tmp_path), datasets=["synthetic"]), NAMES).set_index("study")["Synthetic"]
    assert table["sequence-components"] == "1 of 2, 1 of 2; 1 of 6 models"


def test_the_figure_of_table_1_has_a_line_for_popularity_and_one_for_the_best_reference(found):
    main = {key: results for key, results in found.items() if key[1] in ("sequences", "factorization")}
    references = tables.references_of(found)
    assert set(references) == set(main)
    panels = [axes for axes in figures.table1(main, references).axes if axes.get_visible()]
    for axes, family in zip(panels, ("sequences", "factorization"), strict=True):
        outcomes = references["synthetic", family].outcomes
        best = max(outcomes.values(), key=lambda outcome: outcome.search["validation"]["mrr"])
        dotted = {float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == ":"}
        assert dotted == {outcomes["popularity"].mrr, best.mrr}
    assert all(line.get_linestyle() != ":" for axes in figures.table1(main).axes for line in axes.lines)


def test_the_figure_of_searches_has_a_panel_for_every_study(found, ledger):
    curves = searching.curves(found, ledger)
    assert set(curves) == {("synthetic", "sequences"), ("synthetic", "factorization")}
    drawn = figures.searches(curves)
    assert [len(axes.lines) for axes in drawn.axes] == [2, 3] and [text.get_text() for text in drawn.legends[0].texts] == [
        "LSTM / Factorization",
        "Mixture-LSTM / Embedding mixture",
        "Projection mixture",
    ]
    data = searching.curve_table(curves)
    line = data[(data["protocol"] == "sequences") & (data["model"] == "LSTM")]
    assert line["median"].tolist() == pytest.approx(np.median(curves["synthetic", "sequences"]["lstm"], axis=0), abs=1e-5)
    assert searching.curve_table({}).empty
    figures.searches({}).canvas.draw()  # before anything was run
    figures.gains(gains.gain_by_skew(found, {}), gains.factorial(ledger, []), pooling.means(found)).canvas.draw()


@pytest.mark.parametrize(
    ("said", "bold"),
    [("+0.004 [+0.001, +0.006]", True), ("-0.004 [-0.006, -0.001]", True), ("+0.0003 [+0.0000, +0.0006]", True),
     ("+0.000 [+0.000, +0.000]", False), ("+0.001 [+0.000, +0.002]", False), ("-0.001 [-0.002, -0.000]", False),
     ("+0.001 [-0.001, +0.002]", False)],
)  # fmt: skip
def test_an_interval_that_ends_at_0_is_not_in_bold(said, bold):
    assert winners.DECIDED.sub(r"**\1**", said) == (f"**{said}**" if bold else said)
