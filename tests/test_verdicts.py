from dataclasses import replace

import pandas as pd
import pytest

from mixlib import tables, verdicts
from mixlib.evaluation import Comparison
from mixlib.ledger import Ledger

BETTER, WORSE, UNDECIDED = Comparison(0.1, 0.05, 0.2, 0.01), Comparison(-0.1, -0.2, -0.05, 0.01), Comparison(0.01, -0.1, 0.1, 0.5)


@pytest.mark.parametrize(
    ("gaps", "said"),
    [
        ([], "not run yet"),
        ([BETTER, BETTER], "reproduced here"),
        ([WORSE], "the opposite holds here"),
        ([UNDECIDED, UNDECIDED], "undecided here, every interval holds 0"),
        ([UNDECIDED, WORSE], "not reproduced here, better in 0 of 2, worse in 1, undecided in 1"),
        ([BETTER, UNDECIDED], "in part, better in 1 of 2, worse in 0, undecided in 1"),
        ([BETTER, WORSE, UNDECIDED], "in part, better in 1 of 3, worse in 1, undecided in 1"),
    ],
)
def test_a_verdict_follows_from_the_intervals(gaps, said):
    assert verdicts.verdict(gaps) == said


def test_one_loss_contradicts_a_claim_of_every_case():
    assert verdicts.verdict([BETTER, WORSE], always=True) == "contradicted, better in 1 of 2, worse in 1, undecided in 0"
    assert verdicts.verdict([BETTER, UNDECIDED], always=True) == verdicts.verdict([BETTER, UNDECIDED])


def test_unfinished_studies_do_not_pass_for_finished_ones():
    whole, begun = verdicts.Evidence(UNDECIDED), verdicts.Evidence(BETTER, "1 of 20 trials")
    assert verdicts.weighed([whole]) == "undecided here, every interval holds 0"
    assert verdicts.weighed([begun]) == "Provisional: reproduced here."
    assert verdicts.weighed([whole, begun]) == (
        f"At full budget: {verdicts.verdict([UNDECIDED])}. With unfinished studies: {verdicts.verdict([UNDECIDED, BETTER])}."
    )
    assert verdicts.weighed([verdicts.Evidence(BETTER), begun]) == "At full budget: reproduced here. With unfinished studies: the same."
    assert str(begun).endswith("(1 of 20 trials)") and "trials" not in str(whole)


def test_an_interval_over_seeds_decides_where_there_is_one():
    unsure = verdicts.Evidence(BETTER, wide=(-0.02, 0.22))
    assert verdicts.weighed([unsure]) == "undecided here, every interval holds 0"
    assert verdicts.weighed([verdicts.Evidence(BETTER, wide=(0.02, 0.18))]) == "reproduced here"
    assert str(unsure) == "+0.100 [+0.050, +0.200], over seeds, too: [-0.020, +0.220]"


def test_evidence_is_whole_when_all_trials_and_seeds_of_all_models_are_done(request):
    results = tables.collected(Ledger(request.config.rootpath / "results"), ["sequences"])["movielens-100k", "sequences"]
    assert verdicts.Evidence.of(results, "mixture_lstm", "lstm").budget == ""
    for less in ({"trials": 19}, {"finalists": {arm: found[:4] for arm, found in results.selection.finalists.items()}}):
        part = replace(results, selection=replace(results.selection, **less))
        assert " of 20 trials, " in verdicts.Evidence.of(part, "mixture_lstm", "lstm").budget


def test_a_claim_without_records_is_not_run_yet(tmp_path):
    table = verdicts.claims(tables.collected(Ledger(tmp_path)), {})
    assert len(table) == 8 and (table["verdict"] == "not run yet").all()
    assert table["printed in 2018"].iloc[0] == "* Movielens 10M +0.009\n* Amazon +0.039\n* Goodbooks-10K +0.020"


def test_the_numbers_of_a_claim_are_those_of_the_paired_comparison(request):
    found = tables.collected(Ledger(request.config.rootpath / "results"), ["sequences"])
    gap = found["movielens-100k", "sequences"].against("mixture_lstm", "lstm")
    said = verdicts.claims(found, {})["found here, test MRR [95 %]"].iloc[0]
    assert f"Movielens 100K {gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]" in said


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "not run yet"),
        ([(4, float("nan"), float("nan"))], "undecided: fewer than 5 data sets"),
        ([(4, float("nan"), float("nan")), (6, -0.9, 0.01)], "reproduced here"),
        ([(5, -0.9, 0.04), (6, -0.2, 0.5)], "only in part"),
        ([(6, -0.2, 0.5)], "undecided here"),
        ([(6, 0.9, 0.01)], "the opposite holds here"),
    ],
)
def test_the_verdict_on_popularity_follows_from_the_rank_correlations(rows, said):
    assert verdicts.correlation_verdict(pd.DataFrame(rows, columns=["datasets", "rho", "p"])) == said


def test_other_splits_count_as_evidence_and_unequal_budgets_make_the_last_row_provisional(request):
    found = tables.collected(Ledger(request.config.rootpath / "results"), ["sequences", "sequence-splits", "factorization"])
    gap = found["movielens-100k", "sequence-splits"].against("mixture_lstm", "lstm")
    table = verdicts.claims(found, {dataset: float(i) for i, (dataset, _) in enumerate(found)})
    assert f"Movielens 100K, other splits {gap.difference:+.3f} [" in table[verdicts.HERE].iloc[0]
    assert table["verdict"].iloc[-1].startswith("Provisional: ") != all(results.whole for results in found.values())
    whole = {key: results for key, results in found.items() if key[0] == "movielens-100k"}
    assert verdicts.claims(whole, {"movielens-100k": 1.0})["verdict"].iloc[-1] == "undecided: fewer than 5 data sets"
