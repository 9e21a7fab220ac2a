import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import record_of
from safetensors.torch import save_model
from scipy.stats import norm

from mixlib import evaluation, experiments, figures, labels, models, outcomes, progress, prose, reports, tables
from mixlib.evidence import Evidence, Share, share
from mixlib.exhibits import Exhibits
from mixlib.ledger import Ledger, code_version
from mixlib.plans import Selection, Subject, search_trials, seed_trials
from mixlib.studies import PAPER, STUDIES


@pytest.mark.parametrize(
    ("gap", "wide", "said"),
    [
        ((0.0124, 0.0010, 0.0238), (-0.0012, 0.0260), "+0.012 [+0.001, +0.024], users and seeds: [-0.001, +0.026]"),
        ((-0.0026, -0.0052, 0.0004), (-0.0068, 0.0016), "-0.0026 [-0.0052, +0.0004], users and seeds: [-0.0068, +0.0016]"),
        ((0.0003, -0.0020, 0.0025), (-0.0030, 0.0036), "+0.0003 [-0.0020, +0.0025], users and seeds: [-0.0030, +0.0036]"),
        ((0.0100, 0.0050, 0.0150), (-0.0001, 0.0201), "+0.0100 [+0.0050, +0.0150], users and seeds: [-0.0001, +0.0201]"),
        ((0.0000, 0.0000, 0.0000), (0.0000, 0.0000), "+0.000 [+0.000, +0.000], users and seeds: [+0.000, +0.000]"),
    ],
)
def test_a_difference_and_both_intervals_have_as_many_decimals_as_tell_them_from_0(gap, wide, said):
    assert str(Evidence(evaluation.Comparison(*gap, 1.0, 0.0), wide)) == said


def test_table_1_shows_ours_with_intervals_and_bold_only_beyond_them(ledger, monkeypatch):
    few = reports.table1(outcomes.collected(ledger, outcomes.MAIN), labels.UNORDERED)
    assert few["Movielens 100K"].iloc[2].startswith("0.12") and not few["Movielens 100K"].str.contains("**", regex=False).any()
    monkeypatch.setattr(reports, "FEW", 2)  # as if two search trials were enough
    table = reports.table1(outcomes.collected(ledger, outcomes.MAIN), labels.UNORDERED).set_index("model")
    ours = table[table.source == "this book"]["Movielens 100K"]
    assert ours["Mixture-LSTM"].startswith("**0.12") and not ours["LSTM"].startswith("**")
    assert ours["Factorization"] == "not run yet"
    assert (table["Movielens 10M"][table.source == "this book"] == "not run yet").all()


def test_table_1_prints_the_published_numbers_of_their_one_source(ledger):
    table = reports.table1(outcomes.collected(ledger, outcomes.MAIN), labels.UNORDERED)
    printed = table[table.source == "2018"]
    assert printed["Amazon"].tolist() == ["0.1502", "0.1889", "0.1001", "0.0698", "0.1696"]
    assert printed["Movielens 100K"].iloc[0] == "0.0478 (archive)"


def test_gains_are_paired_and_say_the_budget(ledger):
    gains = reports.gains(outcomes.collected(ledger, outcomes.MAIN)).iloc[0]
    assert gains["gain in test MRR [95%]"] == "+0.020 [+0.020, +0.020]"  # the spread over users is shared, so it cancels
    assert (gains["trials"], gains["seeds"]) == ("2 of 20", "2 of 5")
    found = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"]
    assert gains["relative, users and seeds"] == str(share(found.outcomes["mixture_lstm"], found.outcomes["lstm"]))
    alone = replace(found, outcomes={arm: replace(one, by_seed=one.by_seed[:1]) for arm, one in found.outcomes.items()})
    assert reports.gains({("movielens-100k", "sequences"): alone})["relative, users and seeds"].tolist() == ["+20%"]


def test_every_cell_leads_to_records_that_exist(ledger):
    for row in reports.sources(outcomes.collected(ledger, outcomes.MAIN)).itertuples():
        for file in [row[4], *row.seeds.split()]:
            assert (ledger.root.parent / row.folder.replace("results", ledger.root.name, 1) / file).is_file()


def test_a_missing_array_makes_a_gap_that_is_named(ledger):
    record = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"].outcomes["lstm"].records[0]
    ledger.path("movielens-100k", "sequences", record["key"]).with_suffix(".npz").unlink()
    found = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"]
    assert {len(outcome.records) for outcome in found.outcomes.values()} == {1}  # the other arm gives up the same seed
    assert f"Left out: the record {record['key']}.json does not count, its arrays" in reports.gaps(found, "movielens-100k")
    assert reports.table1({("movielens-100k", "sequences"): found}, labels.UNORDERED).iloc[4]["Movielens 100K"] == "2 of 20, 1 of 5"


def test_a_damaged_search_trial_makes_a_gap_that_status_names(ledger, data_root):
    trial = search_trials(STUDIES["sequences"], Subject("movielens-100k", "f" * 16, 100, 20), PAPER)["lstm"][1]
    ledger.path("movielens-100k", "sequences", trial.key).write_text("")
    table, said = progress.status(ledger, ["movielens-100k"])
    assert table.set_index("study").loc["sequences", "search"] == "1 of 20"
    assert said == [f"movielens-100k, sequences: the record {trial.key}.json does not count, Expecting value: line 1 column 1 (char 0)."]


def test_records_of_another_version_of_the_data_are_named_and_never_mixed_in(ledger, tiny, data_root):
    before = reports.table1(outcomes.collected(ledger, outcomes.MAIN), labels.UNORDERED)
    other = Subject("movielens-100k", "e" * 16, 100, 20)
    trials = search_trials(STUDIES["sequences"], other, PAPER)["lstm"][:3]
    for trial in trials:
        ledger.write(*record_of(trial, 0.9))
    ledger.write(*record_of(search_trials(STUDIES["factorization"], other, PAPER)["factorization"][0], 0.9))
    pd.testing.assert_frame_equal(reports.table1(outcomes.collected(ledger, outcomes.MAIN), labels.UNORDERED), before)
    table, said = progress.status(ledger, ["movielens-100k"])
    assert table.set_index("study").loc["factorization", "search"] == "0 of 20"
    assert said == [
        f"movielens-100k, sequences: 3 records are of another version of the data, fingerprint {'e' * 16}, windows of 20 to 100.",
        f"movielens-100k, factorization: 1 records are of another version of the data, fingerprint {'e' * 16}.",
    ]
    now = replace(tiny, name="movielens-100k")  # the data as they are now: none of the records is about them
    found = outcomes.study("sequences", now, "paper", ledger)
    assert not found.outcomes and "4 records" not in (said := reports.gaps(found, "x")) and "8 records" in said and "3 records" in said


def test_of_several_versions_that_of_the_data_that_lie_here_counts(ledger, tiny, monkeypatch):
    here = replace(tiny, name="movielens-100k")
    for trial in search_trials(STUDIES["sequences"], Subject.of(here), PAPER)["lstm"][:3]:
        ledger.write(*record_of(trial, 0.9))
    most = outcomes.version_of(ledger, "movielens-100k")
    monkeypatch.setattr(outcomes, "load", lambda name: here)
    now = outcomes.version_of(ledger, "movielens-100k")
    assert most.fingerprint != now.fingerprint == here.fingerprint and (most.max_length, now.max_length) == (100, 0)
    assert outcomes.recorded(ledger, "movielens-100k", "sequences").selection.trials == 3
    third = replace(here, items=np.asarray(here.items)[::-1])  # of which there are no records
    monkeypatch.setattr(outcomes, "load", lambda name: third)
    assert third.fingerprint != here.fingerprint and outcomes.version_of(ledger, "movielens-100k") == most


def test_where_no_data_lie_all_studies_count_with_the_same_windows(ledger):
    other = Subject("movielens-100k", outcomes.version_of(ledger, "movielens-100k").fingerprint, 50, 10)
    few = search_trials(STUDIES["sequences"], other, PAPER)["lstm"][:3]
    alone = search_trials(STUDIES["sequence-references"], other, PAPER)["markov"][:3]
    for trial in [*few, *alone]:
        ledger.write(*record_of(trial, 0.9))
    assert outcomes.version_of(ledger, "movielens-100k").max_length == 100
    assert outcomes.recorded(ledger, "movielens-100k", "sequence-references") is None  # of windows that do not count
    assert any("3 records are of other windows" in one for one in progress.status(ledger, ["movielens-100k"])[1])


def test_of_ones_own_data_only_the_version_that_lies_here_counts(ledger, tiny, monkeypatch):
    before = replace(tiny, name="mine")
    for trial in search_trials(STUDIES["sequences"], Subject.of(before), PAPER)["lstm"][:3]:
        record, arrays = record_of(trial, 0.9)
        ledger.write(record | {"dataset": "mine"}, arrays)
    counted = {"found": [], "status": []}
    for now in (before, replace(before, items=np.asarray(before.items)[::-1])):
        monkeypatch.setattr(outcomes, "load", lambda name, now=now: now)
        counted["found"].append(outcomes.recorded(ledger, "mine", "sequences") is not None)
        table, said = progress.status(ledger, ["mine"])
        counted["status"].append(table.set_index("study").loc["sequences", "search"])
    assert counted == {"found": [True, False], "status": ["3 of 20", "0 of 20"]}
    assert any(f"mine, sequences: 3 records are of another version of the data, fingerprint {before.fingerprint}" in one for one in said)


def test_of_ones_own_data_only_records_of_the_windows_that_they_have_now_count(ledger, tiny, monkeypatch):
    before = replace(tiny, name="mine")
    for trial in search_trials(STUDIES["sequences"], Subject.of(before), PAPER)["lstm"][:3]:
        record, arrays = record_of(trial, 0.9)
        ledger.write(record | {"dataset": "mine"}, arrays)
    monkeypatch.setattr(outcomes, "load", lambda name: replace(before, min_length=before.min_length + 1))
    assert outcomes.recorded(ledger, "mine", "sequences") is None
    table, said = progress.status(ledger, ["mine"])
    assert table.set_index("study").loc["sequences", "search"] == "0 of 20"
    windows = f"windows of {before.min_length} to {before.max_length}"
    assert any(f"mine, sequences: 3 records are of other windows, fingerprint {before.fingerprint}, {windows}" in one for one in said)


def test_status_says_when_records_of_the_book_are_of_other_data_than_lie_here(ledger, tiny, monkeypatch):
    monkeypatch.setattr(outcomes, "load", lambda name: replace(tiny, name=name))
    version = outcomes.version_of(ledger, "movielens-100k").fingerprint
    here = tiny.fingerprint
    said = f"movielens-100k: the records counted here are of another version of the data, {version}, than lies here, {here}."
    assert progress.status(ledger, ["movielens-100k"])[1][0] == said


def test_status_names_data_sets_without_records_in_one_sentence(ledger):
    table, said = progress.status(ledger)
    assert set(table["dataset"]) == {"movielens-100k"}
    assert [sentence for sentence in said if "Nothing that is planned is recorded of amazon, amazon-apps, " in sentence] == said[-2:-1]


def test_status_of_everything_names_what_has_not_begun_and_counts_generated_populations_together(ledger):
    for number, trials in ((200, 1), (300, 3)):
        subject = Subject(f"synthetic:users={number}", f"{number}", 100, 20)
        for arm in search_trials(STUDIES["sequences"], subject, PAPER).values():
            for trial in arm[:trials]:
                record, arrays = record_of(trial, 0.1)
                ledger.write(record | {"dataset": subject.dataset}, arrays)
    table, said = progress.status(ledger)
    rows = table.set_index("dataset")
    assert rows["study"].tolist() == ["sequences"] * 2  # of each data set, what has begun
    assert rows.loc["2 generated populations", ["arms", "search", "seeds"]].tolist() == ["2 of 2", "1 to 3 of 20", "0 of 5"]
    each = [progress.status(ledger, [f"synthetic:users={number}"])[0] for number in (200, 300)]
    assert rows.loc["2 generated populations", "missing"] == sum(one["missing"].sum() for one in each)
    assert any(one.startswith("Generated populations are counted together; each has a folder ") for one in said)
    full, _ = progress.status(ledger, ["movielens-100k"])
    waiting = full[full["study"] != "sequences"]
    (sentence,) = (one for one in said if one.startswith("Not begun of movielens-100k: "))
    assert all(name in sentence for name in waiting["study"]) and f"; {waiting['missing'].sum():,} trainings." in sentence


def test_records_of_other_code_are_a_gap_in_the_tables_and_named(ledger, monkeypatch):
    monkeypatch.setattr("mixlib.ledger.code_version", lambda: "0" * 12)
    found, (table, said) = outcomes.collected(ledger, outcomes.MAIN), progress.status(ledger, ["movielens-100k"])
    assert not found and table.set_index("study").loc["sequences", "search"] == "0 of 20"
    assert len([line for line in said if "does not count, other code wrote it (" in line]) == 8
    monkeypatch.setattr("mixlib.ledger.SAME", {code_version()})
    assert outcomes.collected(ledger, outcomes.MAIN)


def test_arms_on_different_users_are_not_compared(ledger):
    results = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"]
    object.__setattr__(results.outcomes["lstm"], "users", np.arange(1, 41))
    with pytest.raises(ValueError, match="different users"):
        Evidence.of(results, "mixture_lstm", "lstm")


def test_status_counts_what_is_done_of_what_is_planned(ledger):
    table = progress.status(ledger, ["movielens-100k"])[0].set_index("study")
    assert table.loc["sequences", ["search", "seeds"]].tolist() == ["2 of 20", "2 of 5"]
    assert table.loc["factorization", "search"] == "0 of 20" and table.loc["sequence-losses", "search"] == "0 of 10"
    assert table.loc[["sequences", "factorization"], "arms"].tolist() == ["2 of 2", "0 of 3"]
    assert table.loc["sequences", "missing"] >= 2 * 18
    assert table.loc["factorization-size", ["arms", "missing"]].tolist() == ["0 of 2", 2 * (20 + 5)]  # the others are the main study's


def test_numbers_for_the_text_exist_before_anything_ran(tmp_path):
    numbers = prose.numbers(outcomes.collected(Ledger(tmp_path), outcomes.MAIN), labels.UNORDERED)
    assert numbers["more_seeds"] == "not run yet" and numbers["whole_data_sets"] == "no data set"


def test_the_abstract_counts_sides_and_names_the_largest_gain(ledger, monkeypatch):
    found = outcomes.collected(ledger, outcomes.MAIN)
    key, gap = ("movielens-100k", "sequences"), evaluation.Comparison(0.02, 0.01, 0.03, 0.01, 0.5)

    def said(wide):
        monkeypatch.setattr(reports.Evidence, "of", lambda *_: Evidence(gap, wide))
        return prose.numbers(found, labels.UNORDERED)

    share, trials = 0.02 / found[key].outcomes["lstm"].mrr, f"{found[key].trials_done} search trials"
    ahead, behind, unsure, single = said((0.005, 0.035)), said((-0.03, -0.01)), said((-0.01, 0.05)), said(None)
    assert ahead["mixture_lstm_sides"] == f"better on Movielens 100K ({trials})"
    assert ahead["largest_gain"].startswith("Mixture-LSTM on Movielens 100K: +0.020 [+0.010, +0.030], users and seeds: [+0.005, +0.035]")
    assert ahead["largest_gain"].endswith(f", {share:+.0%} of the MRR")
    assert behind["mixture_lstm_sides"] == f"worse on Movielens 100K ({trials})"
    assert unsure["mixture_lstm_sides"] == f"undecided on Movielens 100K ({trials})"
    assert {behind["largest_gain"], unsure["largest_gain"], single["largest_gain"]} == {"none is decided"}
    assert single["mixture_lstm_sides"] == ahead["embedding_mixture_sides"] == ahead["size_sides"] == "not judged yet"


def test_gains_above_the_intervals_are_ruled_out_and_one_seed_rules_out_none():
    gap = evaluation.Comparison(0.0, 0.0, 0.0, 1.0, 0.0)
    parts = [("A", 0.3001, Evidence(gap, (-0.01, 0.03))), ("B", 0.0999, Evidence(gap, (-0.1, 0.02))), ("C", 0.05, Evidence(gap))]
    judged = {
        name: reports.Gain(name, "sequences", "mixture_lstm", "lstm", Share(0.0, np.log(1 + bound) / norm.ppf(0.975), np.inf), one, 1.0)
        for name, bound, one in parts
    }
    assert prose._ruled_out(judged) == (
        "gains above 10% on B and 31% on A (shares of the MRR, rounded up); printed in 2018 were 10% on Movielens 10M, 26% on Amazon "
        "and 17% on Goodbooks-10K"
    )
    assert prose._decidable(judged) == "10% on B and 27% on A"  # less below than above: the interval is one of the log of a ratio
    assert prose._decidable({}) == "not known: no data set has several seeds of both models"
    assert prose._ruled_out({"C": judged["C"]}) == "nothing yet: no data set has several seeds of both models"


def test_data_sets_that_are_done_in_one_study_are_named_with_it(ledger, monkeypatch):
    found = outcomes.collected(ledger, outcomes.MAIN)
    assert set(found) == {("movielens-100k", "sequences")}
    monkeypatch.setattr(outcomes.Results, "whole", True)
    numbers = prose.numbers(found, labels.UNORDERED)
    assert (
        numbers["whole_data_sets"] == "no data set, for sequences alone on Movielens 100K"
        and numbers["begun_data_sets"] == "on Movielens 100K it is begun and not spent"
    )
    numbers = prose.numbers(found | {("movielens-100k", "factorization"): found["movielens-100k", "sequences"]}, labels.UNORDERED)
    assert numbers["whole_data_sets"] == "Movielens 100K" and numbers["begun_data_sets"] == "no other data set is begun"


def test_sides_name_the_data_sets_and_count_them_where_all_are_alike():
    gap = evaluation.Comparison(0.0, 0.0, 0.0, 1.0, 0.0)
    up, down, open_ = (Evidence(gap, wide) for wide in ((0.1, 0.2), (-0.2, -0.1), (-0.1, 0.1)))
    made = {where: Selection(STUDIES["sequences"], PAPER.of(STUDIES["sequences"]), n, {}, {}, []) for n, where in enumerate("ABCDE", 1)}

    def sides(**judged: Evidence) -> str:
        return prose._sides(judged, made)

    assert sides(A=up, B=open_, C=up, D=down, E=up) == (
        "better on A, C and E (1 to 5 of 20 search trials); worse on D (4 of 20 search trials); undecided on B (2 of 20 search trials)"
    )
    assert sides(A=up, B=up, C=up) == "better on all 3 data sets (1 to 3 of 20 search trials)"
    assert sides(A=up, B=up) == "better on both data sets (1 to 2 of 20 search trials)"
    assert sides(A=down) == "worse on A (1 of 20 search trials)"
    assert sides(A=up, C=up, B=Evidence(gap)) == "better on both data sets (1 to 3 of 20 search trials)"  # one seed is no case
    assert sides() == sides(A=Evidence(gap)) == "not judged yet"


def test_an_empty_study_says_which_command_runs_it(tiny, tmp_path):
    results = outcomes.study("factorization", tiny, "paper", tmp_path)
    assert not results.outcomes and "mixlib run --dataset tiny --study factorization" in reports.gaps(results, "tiny")
    assert reports.verdicts(results) == ["No records yet: nothing can be said."]
    assert reports.arms(results).empty and reports.short_verdicts(results) == []
    assert "--results" not in reports.gaps(results, "tiny", "../results")
    assert "--study factorization --results mine`" in reports.gaps(results, "tiny", "../mine")  # a notebook is one folder below
    assert "--dataset '/my data/interactions.csv' --study" in reports.gaps(results, "/my data/interactions.csv")
    assert "--study factorization --results '/my records'`" in reports.gaps(results, "tiny", "/my records")
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none: give that of a ledger"):
        outcomes.ledger_in(tmp_path / "none")
    with pytest.raises(ValueError, match="the folder of the ledger is empty: name one"):
        outcomes.ledger_in("")


def test_arms_may_be_named_by_what_can_be_read_once(tiny):
    few = {"trials": 1, "seeds": 1, "epochs": {"sequences": 1, "factorization": 1}}
    assert list(outcomes.study("factorization", tiny, "demo", arms=iter(["factorization"]), **few).outcomes) == ["factorization"]


def test_models_of_ones_own_are_shown_by_their_names(ledger):
    results = outcomes.collected(ledger, ["sequences"])["movielens-100k", "sequences"]
    kinds = zip(("gru", "mixture_gru"), results.outcomes.values(), strict=True)
    made = {f"{kind}/{loss}": replace(one, arm=f"{kind}/{loss}") for kind, one in kinds for loss in ("bpr", "adaptive_hinge")}
    study = replace(STUDIES["sequences"], arms=dict.fromkeys(made, STUDIES["sequences"].arms["lstm"]))
    own = replace(results, outcomes=made, selection=replace(results.selection, study=study))
    assert reports.losses(own)["model"].tolist() == ["Gru", "Gru", "Mixture gru", "Mixture gru"]
    assert [said.partition(":")[0] for said in reports.loss_verdicts(own)] == ["Gru", "Mixture gru"]
    assert tables.gains_by_loss({("movielens-100k", "sequence-losses"): own})["mixture"].tolist() == ["Mixture gru"] * 2
    figure, (left, right) = figures.new(2)
    figures.outcomes(left, own)
    figures.components(right, replace(own, outcomes={"gru/1": made["gru/bpr"], "gru/2": made["mixture_gru/bpr"]}))
    assert left.get_yticklabels()[0].get_text() == "Gru, BPR as printed" and right.get_title("left") == "Gru"
    figures.close(figure)


def test_seeds_that_fall_short_of_the_search_are_said_but_not_of_other_splits(tiny):
    results = outcomes.study("sequences", tiny, "demo", trials=1, seeds=2, epochs={"sequences": 1, "factorization": 1})
    reached = {arm: replace(one, by_seed=np.array([0.79, 0.81]), search={"test": {"mrr": 1.0}}) for arm, one in results.outcomes.items()}
    said = reports.short_verdicts(replace(results, outcomes=reached), "here")
    assert [one.partition(":")[0] for one in said] == ["LSTM here", "Mixture-LSTM here"]
    assert all("1 of 2 seeds reach less than 80% of what the search's" in one and "reached, 1.000 in test MRR" in one for one in said)
    apart = replace(results.selection, study=replace(results.selection.study, splits=True))
    assert reports.short_verdicts(replace(results, outcomes=reached, selection=apart)) == []


def test_the_demo_computes_in_place_and_writes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = outcomes.study("sequences", tiny, "demo", trials=1, seeds=1, epochs={"sequences": 1, "factorization": 1})
    assert set(results.outcomes) == {"lstm", "mixture_lstm"} and not list(tmp_path.iterdir())
    assert len(reports.arms(results, "lstm")) == len(reports.winners(results)) == len(reports.other_metrics(results)) == 2


def test_unknown_profile_and_study_are_errors(tiny):
    with pytest.raises(ValueError, match="did you mean 'demo'"):
        outcomes.study("sequences", tiny, "deno")
    with pytest.raises(ValueError, match="no study"):
        outcomes.study("sequence", tiny, "demo")


def test_trained_weights_are_kept_beside_the_record_and_give_the_same_model(tiny, tmp_path, monkeypatch):
    trial = search_trials(STUDIES["sequences"], Subject.of(tiny), PAPER)["mixture_lstm"][0]
    short = trial.definition | {"training": trial.definition["training"] | {"epochs": 1}}
    record = {"dataset": "tiny", "study": "sequences", "key": "0" * 16, "definition": short}
    ledger = Ledger(tmp_path)
    ledger.folder("tiny", "sequences").mkdir(parents=True)
    first, split = experiments.trained(record, tiny, ledger)
    train, trained = experiments.train, []
    monkeypatch.setattr(experiments, "train", lambda *given: trained.append(given) or train(*given))
    again, _ = experiments.trained(record, tiny, ledger)
    np.testing.assert_array_equal(experiments.evaluate(first, split)[0], experiments.evaluate(again, split)[0])
    assert not trained
    (kept,) = tmp_path.rglob("*.safetensors")
    kept.write_bytes(kept.read_bytes()[:100])
    again, _ = experiments.trained(record, tiny, ledger)
    np.testing.assert_array_equal(experiments.evaluate(first, split)[0], experiments.evaluate(again, split)[0])
    assert len(trained) == 1 and kept.stat().st_size > 100
    save_model(models.build("lstm", tiny.n_items + 1, dim=4), str(kept))  # of another size
    experiments.trained(record, tiny, ledger)
    assert len(trained) == 2
    experiments.trained(record | {"test": {"mrr": 0.2}}, tiny, ledger)  # the same trial, trained again
    assert len(trained) == 3 and len(list(tmp_path.rglob("*.safetensors"))) == 2
    monkeypatch.setattr("mixlib.files.tempfile.mkstemp", lambda **_: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    again, _ = experiments.trained(record | {"test": {"mrr": 0.3}}, tiny, ledger)  # a ledger that cannot be written to
    np.testing.assert_array_equal(experiments.evaluate(first, split)[0], experiments.evaluate(again, split)[0])
    assert len(trained) == 4 and len(list(tmp_path.rglob("*.safetensors"))) == 2


def test_published_numbers_are_complete_and_plausible():
    for source in ("paper", "archive"):
        for values in labels.PUBLISHED[source]["mrr"].values():
            assert set(values) <= set(labels.LABELS) and all(0 < value < 1 for value in values.values())
    assert all(set(values) == set(labels.LABELS) for values in labels.PUBLISHED["paper"]["mrr"].values())


def test_published_numbers_name_sources_that_the_book_cites():
    parts = [part for name, part in labels.PUBLISHED.items() if name != "counts"] + [*labels.PUBLISHED["counts"].values()]
    bibliography = (Path(__file__).parent.parent / "book" / "references.bib").read_text(encoding="utf-8")
    assert {part["source"] for part in parts} <= {*re.findall(r"^@\w+\{(\w+),", bibliography, re.MULTILINE)}


def test_stacked_tables_have_no_gaps():
    table = reports.stacked([pd.DataFrame({"a": [1]}), pd.DataFrame({"b": [2]})])
    assert not table.isna().any().any() and len(reports.stacked([])) == 1


def test_real_records_of_the_repository_belong_to_the_plan(request):
    ledger = Ledger(request.config.rootpath / "results")
    for dataset in ledger.datasets():
        for name, study in STUDIES.items():
            records = ledger.read(dataset, name)
            for subject in {Subject.of_record(record) for record in records.values()}:
                trials = [trial for plan in search_trials(study, subject, PAPER.of(study)).values() for trial in plan]
                planned = {trial.key for trial in trials} | {
                    again.key for trial in trials for again in seed_trials(study, trial, PAPER.of(study).seeds)
                }
                assert set(records) <= planned


def test_an_arm_that_has_not_begun_is_said(ledger):
    study = outcomes.collected(ledger, outcomes.MAIN)["movielens-100k", "sequences"]
    begun = {part: {"lstm": getattr(study.selection, part)["lstm"]} for part in ("finalists", "winners")}
    study = replace(study, selection=replace(study.selection, **begun))
    assert study.budget.endswith("2 of 5 seeds for each winner. Not begun: Mixture-LSTM.")


def test_real_records_of_the_repository_are_readable_and_whole(request):
    ledger = Ledger(request.config.rootpath / "results")
    for dataset in ledger.datasets():
        for study in STUDIES:
            for record in ledger.read(dataset, study).values():
                assert record["status"] in ("done", "failed")
                assert ledger.folder(record["dataset"], study) == ledger.folder(dataset, study)
                if record["stage"] == "seeds" and record["status"] == "done":
                    assert np.isclose(ledger.arrays(record)["reciprocal_ranks"].mean(), record["test"]["mrr"], atol=1e-6)


def test_status_keeps_the_name_of_a_single_generated_population(ledger):
    trial = search_trials(STUDIES["sequences"], Subject("synthetic:users=200", "2", 100, 20), PAPER)["lstm"][0]
    record, arrays = record_of(trial, 0.1)
    ledger.write(record | {"dataset": "synthetic:users=200"}, arrays)
    table, said = progress.status(ledger)
    assert set(table["dataset"]) == {"movielens-100k", "synthetic_users=200"} and not any("counted together" in one for one in said)


def test_status_of_everything_has_a_row_for_a_study_whose_records_are_all_left_out(ledger):
    path = ledger.path("movielens-100k", "factorization", "0" * 16)
    path.parent.mkdir(parents=True)
    path.write_text("")
    table, said = progress.status(ledger)
    assert table.set_index("study").loc["factorization", "search"] == "0 of 20"
    assert any("movielens-100k, factorization: the record 0000000000000000.json does not count" in one for one in said)
    (waiting,) = (one.partition(": ")[2].partition(";")[0].split(", ") for one in said if one.startswith("Not begun of movielens-100k"))
    assert "factorization" not in waiting and "factorization-losses" in waiting


def test_a_data_set_that_is_asked_for_twice_is_counted_once(ledger):
    pd.testing.assert_frame_equal(*(progress.status(ledger, ["movielens-100k"] * times)[0] for times in (1, 2)))


def test_a_ledger_that_is_not_there_is_said(tiny, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*resutls: give that of a ledger"):
        outcomes.study("sequences", tiny, ledger=tmp_path / "resutls")
    assert not outcomes.study("sequences", tiny, ledger=Ledger(tmp_path / "new")).outcomes  # of a ledger that is about to begin


def test_a_p_value_below_a_thousandth_is_said_to_be_smaller():
    assert [reports.p_value(p) for p in (0.0009, 0.001, 0.0049, 0.5)] == ["<\u00a00.001", "0.001", "0.005", "0.500"]


def test_an_end_that_would_show_as_0_keeps_a_decimal_or_its_sign():
    assert labels.as_share(0.06, -0.0008, 0.125) == "+6.0% [-0.1%, +12.5%]" and labels.as_share(0.06, -0.02, 0.125) == "+6% [-2%, +12%]"
    assert labels.share_bounds(-0.0004, 0.13) == "[-0.0%, +13.0%]"
    assert labels.as_share(-0.0004, 0.0, 0.1, digits=1) == "+0.0% [+0.0%, +10.0%]"


def test_every_table_has_a_head_where_nothing_is_recorded(tmp_path):
    shown = Exhibits(Ledger(tmp_path), {}).tables()
    assert all(table.shape[1] for table in shown.values())
