"""What tables, sentences and numbers of the text show of studies with a tiny budget: cases that stand beside those of test_tables.py."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tiny_studies
from tiny_studies import NAMES, TINY

from mixlib import (
    evaluation,
    evidence,
    experiments,
    figures,
    gains,
    labels,
    outcomes,
    pooling,
    populations,
    progress,
    prose,
    reports,
    retrained,
    searching,
    synthetic,
    tables,
    twins,
    verdicts,
    winners,
)
from mixlib.evaluation import Comparison
from mixlib.evidence import Evidence
from mixlib.ledger import Ledger, key_of
from mixlib.studies import PAPER, STUDIES

# fixtures: a name that is imported would be hidden by the arguments that bear it
data, planned, monkeypatch_module = tiny_studies.data, tiny_studies.planned, tiny_studies.monkeypatch_module
ledger, found = tiny_studies.ledger, tiny_studies.found

GAP = Comparison(0.1, 0.05, 0.2, 0.01, 0.3)
CELL = "synthetic:users=90,items=40,clusters=4,length=20.0,tastes=2,stickiness=0.9,skew=0.4,twins=0.0"


def run(study, data, folder, arms=()):
    """What a study says with one search trial and two seeds."""
    experiments.run(study, data, Ledger(folder), replace(TINY, trials=1), arms=arms)
    return outcomes.collected(Ledger(folder), datasets=NAMES)


@pytest.fixture(scope="module")
def of_size(planned, data, tmp_path_factory):
    return run(reports.SIZE, data, tmp_path_factory.mktemp("size"))


@pytest.fixture(scope="module")
def of_losses(planned, data, tmp_path_factory):
    arms = ["factorization/adaptive_hinge", "factorization/bpr", "embedding_mixture/bpr"]
    return run("factorization-losses", data, tmp_path_factory.mktemp("losses"), arms)


def of_one_seed(found):
    """As if one seed of every winner were done."""
    made = {}
    for key, results in found.items():
        chosen = {arm: records[:1] for arm, records in results.selection.finalists.items()}
        left = {arm: replace(one, by_seed=one.by_seed[:1]) for arm, one in results.outcomes.items()}
        made[key] = replace(results, outcomes=left, selection=replace(results.selection, finalists=chosen))
    return made


def after(trials, results):
    """As if so many search trials were done of those that the paper plans."""
    return replace(results, selection=replace(results.selection, planned=PAPER, trials=trials))


# --- outcomes and evidence


def test_data_sets_with_the_most_search_trials_come_first(found):
    few = found["synthetic", "sequences"]
    made = {("a", "sequences"): few, ("b", "sequences"): after(3, few)}
    assert list(outcomes.by_budget(made)) == [("b", "sequences"), ("a", "sequences")]


def test_windows_are_no_part_of_the_data_that_a_study_of_factorization_is_run_on(planned, data, ledger):
    assert outcomes.study("factorization", data, ledger=ledger).left_out == ()


def test_a_study_in_which_a_model_has_not_begun_is_not_whole(found):
    results = found["synthetic", "sequences"]
    lone = replace(results.selection, finalists={"lstm": results.selection.finalists["lstm"]})
    assert results.whole and not replace(results, selection=lone).whole


def test_users_of_several_splits_follow_each_other_as_the_records_do(found, ledger):
    lstm = found["synthetic", "sequence-splits"].outcomes["lstm"]
    assert lstm.users.tolist() == [user for record in lstm.records for user in ledger.arrays(record)["users"].tolist()]


def test_evidence_rests_on_few_trials_up_to_four_of_them(found):
    for trials, few in ((4, True), (5, False)):
        assert Evidence.of(after(trials, found["synthetic", "sequences"]), "mixture_lstm", "lstm").few is few


# --- Table 1 and gains


def test_bold_is_what_is_ahead_of_every_other_model(found, monkeypatch):
    monkeypatch.setattr(reports, "FEW", 2)
    order = ["embedding_mixture", "projection_mixture", "factorization"]  # the second is ahead of the third alone

    def of(_, ours, theirs):
        return Evidence(GAP, (0.1, 0.2) if order.index(ours) < order.index(theirs) else (-0.2, -0.1))

    monkeypatch.setattr(reports, "Evidence", SimpleNamespace(of=of))
    shown = reports.table1({("synthetic", "factorization"): found["synthetic", "factorization"]}, ())
    ours = shown[shown["source"] == "this book"].set_index("model")["Synthetic"]
    assert [model for model, said in ours.items() if said.startswith("**")] == ["Embedding mixture"]


def test_sources_name_every_device_and_every_code_behind_a_cell(found):
    results = found["synthetic", "sequences"]
    lstm = results.outcomes["lstm"]
    other = replace(results, outcomes={"lstm": replace(lstm, search=lstm.search | {"device": "another", "code": "older"})})
    [row] = reports.sources({("synthetic", "sequences"): other}).to_dict("records")
    assert row["device"] == f"another, {lstm.records[0]['device']}" and row["code"] == f"older, {lstm.records[0]['code']}"


def test_gains_show_the_rank_biserial_correlation_and_points_their_intervals(found):
    main = {key: results for key, results in found.items() if key[1] in outcomes.MAIN}
    shown = reports.gains(main).set_index("mixture")["rank-biserial"]
    for one in reports.family(main):
        assert shown[labels.label(one.mixture)] == f"{one.evidence.gap.rank_biserial:+.2f}"
    points = reports.points(found["synthetic", "sequences"]).set_index("model")
    for arm, outcome in found["synthetic", "sequences"].outcomes.items():
        assert points.loc[labels.label(arm)].tolist() == [outcome.mrr, *outcome.bounds]


def test_the_popularity_beside_a_window_is_that_of_its_target(found, ledger, data):
    results = found["synthetic", "sequences"]
    rows = gains.who_gains(results, "mixture_lstm", data, ledger)
    split = experiments.split_of(results.outcomes["lstm"].search["definition"], data)
    counts = np.bincount(split.train.items.ravel(), minlength=data.n_items + 1)
    assert rows["popularity"].tolist() == [counts[window[-1]] for window in split.test.items]


def test_quarters_show_what_the_single_vector_reaches_and_the_first_row_the_rank_correlation():
    rows = pd.DataFrame({"user": range(20), "gain": -np.arange(20.0), "single": np.arange(20.0), "history": range(20)})
    table = gains.by_quarter(rows, "history")
    assert table["Spearman's rho with the gain"].tolist() == ["-1.00", "", "", ""]
    assert table[gains.SINGLE].tolist() == ["2.0000", "7.0000", "12.0000", "17.0000"]


def test_larger_vectors_and_losses_of_one_seed_have_no_row(of_size, of_losses):
    assert len(gains.by_size(of_size)) == 3 and gains.by_size(of_one_seed(of_size)).empty
    assert len(tables.gains_by_loss(of_losses)) == 1 and list(tables.gains_by_loss(of_one_seed(of_losses))) == [""]


# --- the figure on the front page


def test_the_first_figure_shows_every_gain_with_its_interval_and_few_trials_pale(found, of_size):
    key, some = ("synthetic", "sequence-splits"), of_size | found
    assert key[1] not in set(pooling.each(some)["protocol"])  # before it is done
    some[key] = replace(found[key], selection=replace(found[key].selection, planned=TINY))
    each = pooling.each(some)
    assert each["protocol"].value_counts().to_dict() == {"sequences": 1, key[1]: 1, "factorization": 2, reports.SIZE: 2}
    assert pooling.each(of_one_seed(some)).empty
    for row in each.to_dict("records"):
        results = some["synthetic", row["protocol"]]
        one = evidence.share_of(results, row["mixture"], row["against"])
        if row["protocol"] == key[1]:  # whose train parts overlap
            one = evidence.share_corrected(*(results.outcomes[arm] for arm in ("mixture_lstm", "lstm")))
        assert (row["relative"], row["relative low"], row["relative high"]) == (one.gain, *one.bounds)
    each = pd.concat([each.assign(trials=5), each.assign(dataset="another", trials=4)], ignore_index=True)
    # wide intervals are cut with an arrow, which is another test's
    each[["relative low", "relative high"]] = np.c_[
        each["relative"] - 0.1 * each["relative"].abs(), each["relative"] + 0.1 * each["relative"].abs()
    ]
    mean = each[each["trials"] == 5].assign(trials=4).drop(columns="dataset")
    drawn = figures.glance(each, mean)
    for axes, names in zip(drawn.axes, (("sequences", key[1]), ("factorization",), (reports.SIZE,)), strict=True):
        shown = []
        for bars in axes.containers:
            dots, ends = bars.lines[0], bars.lines[2][0].get_segments()
            for (x, y), segment in zip(dots.get_xydata(), ends, strict=True):
                shown.append((round(y), x, *segment[:, 0], dots.get_alpha()))
        columns = ["relative", "relative low", "relative high"]
        gained = 100 * mean[mean["protocol"].isin(names)][columns].to_numpy()
        wanted = sorted((place, *gain, alpha) for place, alpha in ((0, 1), (1, 0.4), (2, 0.4)) for gain in gained)
        assert np.array(sorted(shown)) == pytest.approx(np.array(wanted))
    faces = [[bars.lines[0].get_markerfacecolor() == "white" for bars in axes.containers] for axes in drawn.axes]
    assert faces == [[False] * 2 + [True] * 2, [False] * 4, [False] * 2 + [True] * 2]
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == ["Synthetic", labels.title("another"), "all together"]
    figures.close(drawn)


def test_the_first_figure_has_no_row_for_a_mean_that_there_is_not(found):
    drawn = figures.glance(pooling.each(found), pooling.means(found))
    drawn.canvas.draw()
    assert [text.get_text() for text in drawn.axes[0].get_yticklabels()] == ["Synthetic"]
    boxes = [drawn.axes[1].xaxis.label.get_window_extent(), *(axes.get_legend().get_window_extent() for axes in drawn.axes)]
    assert not any(boxes[0].overlaps(box) for box in boxes[1:])
    figures.close(drawn)
    figures.glance(pooling.each({}), pooling.means({})).canvas.draw()  # before anything was run


# --- generated users


def test_a_number_of_tastes_stands_with_the_validation_of_its_own_winner(planned, tmp_path):
    study, arms = "factorization-components", [f"embedding_mixture/{m}" for m in (1, 2)]
    experiments.run(study, synthetic.from_name(CELL), Ledger(tmp_path), replace(TINY, trials=1, seeds=1), arms=arms)
    table = gains.by_components(Ledger(tmp_path), [CELL]).set_index("m")["validation"]
    results = outcomes.recorded(Ledger(tmp_path), CELL, study)
    assert table.tolist() == [results.outcomes[arm].search["validation"]["mrr"] for arm in arms]


def test_numbers_of_tastes_are_not_judged_where_one_of_them_has_one_seed():
    table = pd.DataFrame({"m": [1, 2], "gain": [0, 1], "low": [0, 0.5], "high": [0, 2], "validation": [0.1, 0.2], "seeds": [2, 1]})
    beside = {"tastes": 4, "stickiness": 0.9, "mrr": 0.3, "factorization": 0.3, "its trials": 0}
    [said] = tables.true_tastes_verdicts(table.assign(**beside))
    assert "one seed, so not judged" in said


def test_generated_users_have_no_row_by_target_before_the_search_is_done(planned, tmp_path):
    experiments.run("sequences", synthetic.from_name(CELL), Ledger(tmp_path), replace(TINY, trials=1))
    assert list(populations.by_target(Ledger(tmp_path), [CELL])) == [""]


def test_the_progress_of_the_factorial_counts_cells_that_were_run():
    cells = pd.DataFrame({"tastes": [1, 2, 4], "protocol": "sequences", "trials": [8, 20, 0], "seeds": [2, 5, 0]})
    said = "Generated users, sequences: 2 of 3 cells, with 8 to 20 of 20 search trials, 2 to 5 of 5 seeds."
    assert tables.factorial_progress(cells.assign(stickiness=0.9, skew=0.4, twins=0.0)) == [said]


def test_of_cells_with_the_same_data_the_one_with_more_seeds_is_shown(planned, tmp_path):
    ledger = Ledger(tmp_path)
    names = [f"synthetic:users=90,items=40,clusters=4,length=20,skew=1.0,tastes=1,stickiness={stays},twins=0.5" for stays in (0.5, 0.9)]
    for seeds, name in enumerate(names, 1):
        experiments.run("sequences", synthetic.from_name(name), ledger, replace(TINY, trials=1, seeds=seeds))
    assert set(twins.generated(ledger, names)["stays"]) == {0.9}


def test_shares_of_test_windows_are_of_all_of_them(monkeypatch):
    parts = [{"targets": part, "windows": windows, "LSTM": 0.1, "gain": 0.0, "low": 0.0, "high": 0.0, "wide": None}
             for part, windows in ((twins.TWINS, 50), (twins.OTHERS, 150))]  # fmt: skip
    monkeypatch.setattr(outcomes, "recorded", lambda *_: SimpleNamespace(marks=["one"]))
    monkeypatch.setattr(reports, "spent", lambda _: "")
    kept = SimpleNamespace(noted=lambda _: {"books": {"records": ["one"], "parts": parts}})
    assert twins.real(kept)["share"].tolist() == ["25.0%", "75.0%"]


# --- trained otherwise


def test_seeds_fall_short_of_their_median_and_only_those_that_do_are_counted_as_early(found):
    results = found["synthetic", "factorization"]
    first, *_ = results.outcomes.values()
    seeds = np.array([0.1, 0.1, 0.1, 0.079, 0.3])  # four of them are below 80% of the mean
    records = [{"best_epoch": epoch} for epoch in (5, 50, 50, 50, 50)]
    one = replace(first, by_seed=seeds, records=records, search=first.search | {"test": {"mrr": 0.1}})
    table = retrained.short_seeds({("synthetic", "factorization"): replace(results, outcomes={first.arm: one})})
    assert table[["short", "early"]].to_numpy().tolist() == [[1, 0]]


def test_seeds_of_models_that_the_study_of_size_shares_are_counted_in_the_main_one(of_size):
    own = STUDIES[reports.SIZE].own
    shared = STUDIES[reports.SIZE].arms.keys() - own
    for name, arms in ((reports.SIZE, own), ("factorization", shared)):
        assert retrained.short_seeds({("synthetic", name): of_size["synthetic", name]})["seeds"].tolist() == [len(arms) * TINY.seeds]


def test_what_a_smaller_patience_loses_is_a_mean_over_all_trainings_that_did_not_fail(found, ledger, monkeypatch):
    late = {"status": "done", "validation": {"mrr": 0.5}, "validation_mrr": {"1": 0.1, **{str(e): 0.0 for e in range(2, 13)}, "13": 0.5}}
    monkeypatch.setattr(searching, "searched", lambda *_: {arm: [{"status": "failed"}, late, late] for arm in ("lstm", "mixture_lstm")})
    monkeypatch.setattr(searching, "trials_of", lambda *_: dict.fromkeys(("lstm", "mixture_lstm"), (np.zeros(0), np.zeros(0))))
    said = retrained.patience_verdicts(found, ledger)[0]  # the two seeds lose nothing, the two trials 0.4 each
    assert "of 4 trainings to the last epoch, a patience of 10 would have stopped 2 before" in said and "would be 0.200 lower" in said


# --- searches


def test_pairs_of_which_one_trial_failed_or_is_not_there_are_left_out():
    ours, theirs = searching.at_same_settings(np.array([0.1, 0.0, 0.3, 0.4]), np.array([0.2, 0.2, 0.0]))
    assert (ours.tolist(), theirs.tolist()) == ([0.1], [0.2])


def test_trials_that_failed_keep_their_place_and_reach_0(found, ledger, monkeypatch):
    results = found["synthetic", "sequences"]
    first = searching.searched(results, ledger)["lstm"][0]
    monkeypatch.setattr(searching, "searched", lambda *_: {"lstm": [{"status": "failed"}, first]})
    validation, test = searching.trials_of(results, ledger)["lstm"]
    assert validation.tolist() == [0, first["validation"]["mrr"]] and test.tolist() == [0, first["test"]["mrr"]]


def test_the_range_over_other_searches_holds_the_middle_95_of_100(found, ledger, monkeypatch):
    drawn = np.arange(1000) / 1000 - 0.2
    monkeypatch.setattr(searching, "FEW", 2)
    monkeypatch.setattr(searching, "other_searches", lambda *_: drawn)
    assert set(searching.luck(found, ledger)["gain over searches [middle 95%]"]) == {
        labels.with_interval(np.median(drawn), tuple(np.quantile(drawn, [0.025, 0.975])), sign=True)
    }


def test_a_ratio_that_all_pairs_share_is_sure_where_their_differences_are_not(found, ledger, monkeypatch):
    single = np.array([0.1, 0.2, 0.3])
    monkeypatch.setattr(searching, "trials_of", lambda *_: {"lstm": (single, single), "mixture_lstm": (single, 1.1 * single)})
    results = after(searching.PAIRS, found["synthetic", "sequences"])
    [row] = searching.same_settings({("synthetic", "sequences"): results}, ledger).to_dict("records")
    assert row["mean ratio [95%]"] == "1.100 [1.100, 1.100]" and row["mean difference [95%]"] == "+0.020 [-0.005, +0.045]"


@pytest.mark.parametrize(("items", "number"), [(100, 2), (10, 4)])  # a random order of ten reaches 0.293
def test_a_trial_ends_as_popularity_or_a_random_order_does_up_to_a_tenth_above_it(items, number, found, ledger, monkeypatch):
    key, beside = ("synthetic", "factorization"), ("synthetic", "factorization-references")
    popularity = replace(found[beside].outcomes["popularity"], values=np.full(120, 0.1))
    some = {key: replace(found[key], outcomes={}), beside: replace(found[beside], outcomes={"popularity": popularity})}
    tried = np.array([0.0, 0.099, 0.109, 0.111, 0.2])  # the first failed
    monkeypatch.setattr(searching, "trials_of", lambda *_: {"factorization": (tried, tried)})
    monkeypatch.setattr(type(ledger), "noted", lambda *_: {"synthetic": {"items": items}})
    assert searching.plateau_verdicts(some, ledger)[0] == f"Synthetic, factorization: Factorization {number} of 5."


# --- costs and codes


def test_a_user_of_a_single_vector_has_no_bias_to_keep(found, ledger):
    row = winners.binary(found, ledger, NAMES).set_index("model").loc["LSTM"]
    assert row["memory ratio, user"] == f"{(1 + 4) / (4 * 4):.3f}" != row["memory ratio, item"]  # d = 4: one byte, and a scale


def test_the_share_that_codes_keep_is_uncertain_by_user(found, ledger, monkeypatch):
    lstm = found["synthetic", "sequences"].outcomes["lstm"]
    lstm = replace(lstm, users=np.arange(len(lstm.values)) // 3)  # three windows of each
    codes = replace(lstm, values=lstm.values * np.linspace(0.5, 1, len(lstm.values)))
    monkeypatch.setattr(winners, "as_binary", lambda *_: codes)
    assert winners.kept(lstm, ledger) == evaluation.ratio(codes.values, lstm.values, lstm.users)


def test_an_item_and_its_code_stand_with_their_bytes_beside_every_width(planned, data, tmp_path):
    table = tables.dims(run("factorization-dims", data, tmp_path, ["embedding_mixture/dim 16"]), NAMES).set_index("model")
    row = table.loc["Embedding mixture, width 16"]
    assert (row["bytes of an item"], row["bytes of its code"]) == (4 * 16 + 4, 2 + 4 + 4)


def test_hours_on_processors_and_on_gpus_are_not_added(ledger, tmp_path):
    other, record = Ledger(tmp_path), ledger.read("synthetic", "sequences").popitem()[1] | {"arrays": None}
    for n, device in enumerate(("cpu, 1 threads", "NVIDIA H200"), 1):
        definition = record["definition"] | {"n": n}
        made = {"definition": definition, "key": key_of(definition), "device": device, "seconds": {"fit": 3600.0 * n}}
        other.write(record | made)
    assert tables.hours(other)[["data set", "device", "hours"]].to_numpy().tolist() == [
        ["Synthetic", "NVIDIA H200", "2.0"], ["Synthetic", "cpu, 1 thread", "1.0"],
        ["all together", "processors", "1.0"], ["all together", "GPUs", "2.0"],
    ]  # fmt: skip


def test_sequences_of_data_without_an_order_in_time_are_not_planned():
    table = progress.table({}, ["goodbooks-v1"]).set_index("study")["Goodbooks (first release)"]
    assert (table["sequences"], table["factorization"]) == ("not planned", "none")


# --- claims of 2018


def test_every_loss_stands_with_what_the_adaptive_hinge_gains_over_it(of_losses):
    rows = tables.losses(of_losses).set_index(["model", "loss"])
    one = Evidence.of(of_losses["synthetic", "factorization-losses"], "factorization/adaptive_hinge", "factorization/bpr")
    shown = rows.loc[("Factorization", "BPR as printed"), ["adaptive hinge minus this [95%]", reports.OVER_SEEDS]]
    assert shown.tolist() == [one.over_users, one.over_seeds]
    assert rows.loc[("Factorization", "adaptive hinge"), reports.OVER_SEEDS] == ""


def test_it_is_the_adaptive_loss_that_is_claimed_to_win(of_losses, monkeypatch):
    def of(_, ours, theirs):
        return Evidence(GAP, (0.02, 0.04) if ours.endswith("/adaptive_hinge") else (-0.04, -0.02))

    monkeypatch.setattr(verdicts.Evidence, "of", of)
    judged = verdicts.claims(of_losses, {}).set_index("claim of 2018")["verdict"]
    assert judged["The adaptive loss always beats BPR (BPR as printed)."] == "reproduced here, in 1 of 1"


def test_eight_tastes_are_claimed_to_be_better_than_two(planned, data, tmp_path):
    study, arms = "factorization-components", ["embedding_mixture/8", "embedding_mixture/2"]
    made = run(study, data, tmp_path, arms)
    shown = verdicts.claims(made, {}).set_index("claim of 2018")[verdicts.HERE]
    one = Evidence.of(made["synthetic", study], *arms)
    assert shown["More tastes are better: Embedding mixture, m = 8 against 2."] == f"* Synthetic {one}"


def test_the_mixture_stands_against_a_vector_as_large_and_then_one_half_as_large(of_size):
    shown = verdicts.claims(of_size, {}).set_index("claim of 2018")[verdicts.HERE].filter(like="against a single vector that is")
    pairs = [Evidence.of(of_size["synthetic", reports.SIZE], reports.MIXTURE, arm) for arm in (reports.WIDE, reports.HALF)]
    assert shown.tolist() == [f"* Synthetic {one}" for one in pairs]


def test_a_control_rests_on_few_trials_where_either_search_does(found):
    main, references = ("synthetic", "sequences"), ("synthetic", "sequence-references")
    made = {main: after(20, found[main]), references: after(4, found[references])}
    assert verdicts._tuned_row(made)["verdict"].endswith(" (1 on fewer than 5 trials).")


def test_a_claim_is_judged_by_other_splits_where_there_is_nothing_else(found):
    results = found["synthetic", "sequence-splits"]
    judged = verdicts.claims({("synthetic", "sequence-splits"): results}, {})["verdict"].iloc[0]
    assert judged == verdicts.weighed([Evidence.of(results, "mixture_lstm", "lstm")])


def test_large_gains_and_losses_are_counted_where_they_are_decided(found, monkeypatch):
    [one] = reports.family({("synthetic", "sequences"): found["synthetic", "sequences"]})
    sides = [(0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1), None]
    monkeypatch.setattr(reports, "family", lambda _: [replace(one, evidence=Evidence(GAP, wide)) for wide in sides])
    assert " of 4 comparisons 1 are decided gains and 1 decided losses" in verdicts._large_row({})["verdict"]


def test_a_comparison_of_a_model_that_failed_with_one_that_has_not_begun_failed(found):
    results = found["synthetic", "sequences"]
    left = replace(results, outcomes={}, selection=replace(results.selection, winners={}, finalists={"lstm": []}))
    gaps = verdicts._gaps({("synthetic", "sequences"): left}, "sequences", [("mixture_lstm", "lstm")])
    assert gaps == {"Synthetic": reports.FAILED}


# --- numbers of the text


def test_the_text_says_what_more_seeds_decide(found):
    results = found["synthetic", "sequences"]
    one = Evidence.of(results, "mixture_lstm", "lstm")
    assert prose.numbers({("movielens-1m", prose.MORE_SEEDS): results}, ())["more_seeds"] == f"{one}: {reports.SIDES[one.side]}"


def test_the_text_names_every_reference_but_popularity(found):
    models, references = (found["synthetic", name].outcomes for name in ("factorization", "factorization-references"))
    assert prose._leads(models, references).split("; ") == [
        f"{labels.label(arm)} {Evidence.between(one, models['factorization'])}" for arm, one in references.items() if arm != "popularity"
    ]


@pytest.mark.parametrize("tastes", [1, 2, 3])
def test_a_circle_has_an_arrow_for_each_taste_or_is_refused(tastes):
    figure, axes = figures.new()
    vectors = np.random.default_rng(0).normal(size=(tastes, 2))
    given = axes, np.eye(2), np.array([0]), np.arange(2.0), vectors, vectors[:0], "tastes"
    if tastes > 2:
        with pytest.raises(ValueError):
            figures.circle(*given)
    else:
        figures.circle(*given)
        assert len(axes.texts) == tastes
    figures.close(figure)


def test_means_over_data_sets_in_the_text_are_of_the_models_that_their_names_say(monkeypatch):
    monkeypatch.setattr(prose, "together", lambda _, *compared: compared)
    numbers = prose.numbers({}, ())
    assert numbers["together"] == str(("sequences", "mixture_lstm", "lstm"))
    assert numbers["embedding_together"] == str(("factorization", reports.MIXTURE, "factorization"))
    assert numbers["half_size_together"] == str((reports.SIZE, reports.MIXTURE, reports.HALF))
