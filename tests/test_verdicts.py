from dataclasses import replace

import pandas as pd
import pytest

from mixlib import labels, outcomes, reports, verdicts
from mixlib.evaluation import Comparison
from mixlib.evidence import AHEAD, BEHIND, ONE_SEED, Evidence
from mixlib.ledger import Ledger
from mixlib.studies import STUDIES

GAP = Comparison(0.1, 0.05, 0.2, 0.01, 0.3)
BETTER, WORSE, UNDECIDED = Evidence(GAP, (0.02, 0.18)), Evidence(GAP, (-0.3, -0.1)), Evidence(GAP, (-0.02, 0.22))
UNJUDGED = Evidence(GAP)  # one seed


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([], "not run yet"),
        ([BETTER, BETTER], "reproduced here, in 2 of 2"),
        ([WORSE], "the opposite holds here, in 1 of 1"),
        ([UNDECIDED, UNDECIDED], "undecided here, 2 of 2 intervals contain 0"),
        ([UNDECIDED], "undecided here, 1 of 1 intervals contain 0"),
        ([UNDECIDED, WORSE], "not reproduced here, better in 0 of 2, worse in 1, undecided in 1"),
        ([BETTER, UNDECIDED], "in part, better in 1 of 2, worse in 0, undecided in 1"),
        ([BETTER, WORSE, UNDECIDED], "mixed, better in 1 of 3, worse in 1, undecided in 1"),
        ([UNJUDGED, UNJUDGED], "not judged, one seed each"),
        ([BETTER, UNJUDGED, UNJUDGED], "reproduced here, in 1 of 1 (2 of one seed, not judged)"),
    ],
)
def test_a_verdict_follows_from_the_intervals(gaps, said):
    assert verdicts.verdict([gap.side for gap in gaps]) == verdicts.weighed(gaps) == said


def test_one_loss_contradicts_a_claim_of_every_case():
    assert verdicts.verdict([AHEAD, BEHIND], verdicts.ALWAYS) == "contradicted, better in 1 of 2, worse in 1, undecided in 0"
    assert verdicts.verdict([AHEAD, "undecided"], verdicts.ALWAYS) == verdicts.verdict([AHEAD, "undecided"])
    assert verdicts.verdict([AHEAD, ONE_SEED], verdicts.ALWAYS) == "reproduced here, in 1 of 1 (1 of one seed, not judged)"


def test_controls_claim_nothing_and_so_are_counted_alone():
    assert verdicts.verdict([AHEAD, AHEAD], verdicts.CONTROL) == "ahead in 2 of 2, behind in 0, undecided in 0"
    assert verdicts.verdict([BEHIND, "undecided"], verdicts.CONTROL) == "ahead in 0 of 2, behind in 1, undecided in 1"
    begun = replace(WORSE, budget="1 of 20 trials")
    assert verdicts.weighed([begun], verdicts.CONTROL) == "Provisional: ahead in 0 of 1, behind in 1, undecided in 0."
    table = verdicts.claims({}, {})
    assert (table["claim of 2018"].str.startswith("A control")).sum() == 6


def test_unfinished_studies_do_not_pass_for_finished_ones():
    whole, begun = UNDECIDED, replace(BETTER, budget="1 of 20 trials")
    assert verdicts.weighed([whole]) == "undecided here, 1 of 1 intervals contain 0"
    assert verdicts.weighed([begun]) == "Provisional: reproduced here, in 1 of 1."
    assert verdicts.weighed([whole, begun]) == (
        f"At full budget: {verdicts.verdict(['undecided'])}. With unfinished studies: {verdicts.verdict(['undecided', AHEAD])}."
    )
    unjudged = replace(UNJUDGED, budget="1 of 20 trials")
    said = "reproduced here, in 1 of 1"
    assert verdicts.weighed([BETTER, unjudged]) == f"At full budget: {said}. With unfinished studies: {said} (1 of one seed, not judged)."
    few = replace(begun, few=True)
    assert verdicts.weighed([few, few]) == "Provisional: reproduced here, in 2 of 2 (2 on fewer than 5 trials)."
    assert verdicts.weighed([whole, few]).endswith("better in 1 of 2, worse in 0, undecided in 1 (1 on fewer than 5 trials).")
    assert str(begun).endswith("(1 of 20 trials)") and "trials" not in str(whole)


def test_only_the_interval_over_seeds_decides():
    assert (BETTER.side, WORSE.side, UNDECIDED.side, UNJUDGED.side) == (AHEAD, BEHIND, "undecided", ONE_SEED)
    assert str(UNDECIDED) == "+0.100 [+0.050, +0.200], users and seeds: [-0.020, +0.220]"
    assert (str(UNJUDGED), UNJUDGED.over_seeds) == ("+0.100 [+0.050, +0.200]", "one seed")


def test_evidence_is_whole_when_all_trials_and_seeds_of_all_models_are_done(request):
    results = outcomes.collected(Ledger(request.config.rootpath / "results"), ["sequences"])["movielens-100k", "sequences"]
    assert Evidence.of(results, "mixture_lstm", "lstm").budget == ""
    for less in ({"trials": 19}, {"tried": 4, "finalists": {arm: found[:4] for arm, found in results.selection.finalists.items()}}):
        part = replace(results, selection=replace(results.selection, **less))
        assert " of 20 trials, " in Evidence.of(part, "mixture_lstm", "lstm").budget


def test_a_claim_without_records_is_not_run_yet(tmp_path):
    table = verdicts.claims(outcomes.collected(Ledger(tmp_path)), {})
    assert len(table) == 15 and (table["verdict"] == "not run yet").all()
    assert table["printed in 2018"].iloc[0] == "* Movielens 10M +0.009\n* Amazon +0.039\n* Goodbooks-10K +0.020"


def test_claims_of_the_abstract_are_read_from_gains_references_and_parameters(request, monkeypatch):
    ledger = Ledger(request.config.rootpath / "results")
    found = outcomes.collected(ledger, ["sequences", "sequence-references"], ["movielens-100k"])
    rows = verdicts.claims(found, {}).set_index("claim of 2018")
    large, tuned, modest = (rows.filter(like=words, axis=0).iloc[0] for words in ("are large", "withstand careful", "modest cost"))
    results = found["movielens-100k", "sequences"]
    assert large["verdict"] == "not judged, what is large is the reader's; of 1 comparisons 0 are decided gains and 0 decided losses"
    [one] = reports.family({("movielens-100k", "sequences"): results})
    gap = replace(one.evidence, wide=(0.01, 0.03), budget="3 of 20 trials")
    monkeypatch.setattr(reports, "family", lambda _: [replace(one, evidence=gap)])
    ahead = verdicts.claims(found, {}).set_index("claim of 2018").filter(like="are large", axis=0).iloc[0]
    assert ahead[verdicts.HERE].endswith(f"* Movielens 100K, Mixture-LSTM: {one.share} (3 of 20 trials)")
    assert ahead["verdict"].startswith("not judged, what is large is the reader's; of 1 comparisons 1 are decided gains")
    assert large["printed in 2018"].startswith("* the text: 10% to 69%\n")
    assert "* Amazon, sequences: +26%" in large["printed in 2018"] and large[verdicts.HERE] == "no gain is decided"
    references = found["movielens-100k", "sequence-references"].outcomes.values()
    best = max(references, key=lambda one: one.search["validation"]["mrr"])
    against = Evidence.between(results.outcomes["mixture_lstm"], best)
    assert tuned[verdicts.HERE] == f"* Movielens 100K, Mixture-LSTM against {labels.label(best.arm)}: {against}"
    assert tuned["verdict"] == verdicts.verdict([against.side], verdicts.CONTROL)
    share = results.outcomes["mixture_lstm"].search["parameters"] / results.outcomes["lstm"].search["parameters"] - 1
    assert modest[verdicts.HERE].endswith(f"million, {share:+.0%}") and modest["verdict"].startswith("not judged")


def test_every_study_that_trains_the_models_of_a_main_one_otherwise_stands_in_its_row():
    otherwise = {name for name, study in STUDIES.items() if study.winners_of in outcomes.MAIN or (study.beside and study.only_for)}
    assert verdicts.AGAIN.keys() == otherwise


def test_the_numbers_of_a_claim_are_those_of_the_paired_comparison(request):
    found = outcomes.collected(Ledger(request.config.rootpath / "results"), ["sequences"])
    gap = Evidence.of(found["movielens-100k", "sequences"], "mixture_lstm", "lstm").gap
    said = verdicts.claims(found, {})["found here, test MRR [95%]"].iloc[0]
    assert f"Movielens 100K {gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" in said


def test_the_largest_printed_gain_is_that_of_the_best_mixture():
    printed = {"lstm": 0.1, "mixture_lstm": 0.12, "factorization": 0.1, "projection_mixture": 0.15, "embedding_mixture": 0.11}
    assert [verdicts._best_share(printed, name) for name in outcomes.MAIN] == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "not run yet"),
        ([(4, float("nan"), float("nan"))], "undecided: fewer than 5 data sets"),
        ([(4, float("nan"), float("nan")), (6, -0.9, 0.01)], "reproduced here"),
        ([(5, -0.9, 0.02), (6, -0.2, 0.5)], "only in part"),
        ([(5, -0.9, 0.04), (6, -0.2, 0.5)], "undecided here"),  # one of two, at twice 0.04
        ([(6, -0.2, 0.5)], "undecided here"),
        ([(6, 0.9, 0.01)], "the opposite holds here"),
    ],
)
def test_the_verdict_on_popularity_follows_from_the_rank_correlations(rows, said):
    assert verdicts.correlation_verdict(pd.DataFrame(rows, columns=["datasets", "rho", "p"])) == said


def test_other_splits_are_shown_but_not_counted_twice_and_unequal_budgets_make_the_last_row_provisional(request):
    found = outcomes.collected(Ledger(request.config.rootpath / "results"), ["sequences", "sequence-splits", "factorization"])
    gap = Evidence.of(found["movielens-100k", "sequence-splits"], "mixture_lstm", "lstm").over_users
    table = verdicts.claims(found, {dataset: float(i) for i, (dataset, _) in enumerate(found)})
    assert f"Movielens 100K, other splits {gap}, users and seeds:" in table[verdicts.HERE].iloc[0]
    assert table["verdict"].iloc[0] == verdicts.claims({k: v for k, v in found.items() if k[1] == "sequences"}, {})["verdict"].iloc[0]
    assert table["verdict"].iloc[-1].startswith("Provisional: ") != all(
        results.whole for (_, name), results in found.items() if name in outcomes.MAIN
    )
    whole = {key: results for key, results in found.items() if key[0] == "movielens-100k"}
    assert verdicts.claims(whole, {"movielens-100k": 1.0})["verdict"].iloc[-1] == "undecided: fewer than 5 data sets"
