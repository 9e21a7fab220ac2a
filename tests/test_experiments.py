import json
import multiprocessing
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from conftest import complete, model_for, split_for
from scipy.stats import loguniform

from mixlib import evaluation, experiments, models, outcomes, plans, retrained, studies, training, workers
from mixlib.ledger import Ledger
from mixlib.plans import Subject, search_trials, seed_trials, select
from mixlib.studies import DEMO, PAPER, PATIENCE, STUDIES, Budget

SPACE = {
    "batch_size": [16, 64], "learning_rate": loguniform(5e-3, 5e-2), "l2": loguniform(1e-9, 1e-5), "components": [2, 3],
    "gain": loguniform(0.5, 5),
}  # fmt: skip
TINY = Budget(
    3, 2, {"sequences": 2, "factorization": 2}, {"sequences": 4, "factorization": 4}, {"sequences": SPACE, "factorization": SPACE}
)
SUBJECT = Subject("books", "0" * 16, 50, 10)
STUDY = STUDIES["sequences"]


def run(name, data, where, **options):
    return experiments.run(name, data, Ledger(where), TINY, **options)


def essence(where, name, data):
    """All that must not depend on how and when a study was run."""
    varying = ("seconds", "peak_memory_bytes", "device")
    return {key: {k: v for k, v in r.items() if k not in varying} for key, r in Ledger(where).read(data.name, name).items()}


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """Where a study was run without disturbance."""
    where = tmp_path_factory.mktemp("undisturbed")
    assert complete(run("factorization", tiny, where))
    return where


def test_records_of_other_code_end_a_run_that_would_make_them_for_ever(tiny, tmp_path):
    def elsewhere(trials):
        for trial in trials:
            record, arrays = experiments.finish(trial, tiny, "cpu")
            yield record | {"code": "0" * 12}, arrays

    with pytest.raises(RuntimeError, match=r"other code \(0{12}\) than this"):
        run("factorization", tiny, tmp_path, elsewhere=elsewhere)
    assert not list(tmp_path.rglob("*.json"))


def test_what_another_process_finishes_meanwhile_is_not_made_again(tiny, tmp_path, undisturbed):
    done = {record["key"]: record for record in Ledger(undisturbed).read(tiny.name, "factorization").values()}
    begun, made = [], []

    def report(record):
        made.append(record["key"])
        if len(made) == 1:  # all the others of the search
            for key in {trial.key for trial in begun[0]} - {*made}:
                Ledger(tmp_path).write(done[key])

    assert complete(run("factorization", tiny, tmp_path, begin=begun.append, report=report))
    assert len(begun) == 2 and len(begun[0]) == 9 and len(made) == 1 + len(begun[1])
    assert essence(tmp_path, "factorization", tiny) == essence(undisturbed, "factorization", tiny)


def test_minutes_that_are_no_number_are_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match="minutes must be a number"):
        run("factorization", tiny, tmp_path, minutes=float("nan"))


# --- the plan


@pytest.mark.parametrize("name", [name for name in STUDIES if not name.endswith("-references")])
@pytest.mark.parametrize("budget", [PAPER, DEMO, TINY])
def test_trial_i_is_the_same_for_all_arms_and_on_every_call(name, budget):
    plan, again = (search_trials(STUDIES[name], SUBJECT, budget) for _ in range(2))
    assert [[t.key for t in trials] for trials in plan.values()] == [[t.key for t in trials] for trials in again.values()]
    assert {len(trials) for trials in plan.values()} == {budget.trials}
    for trials in zip(*plan.values(), strict=True):
        drawn = {(t.index, *(t.definition["training"][name] for name in ("batch_size", "learning_rate", "l2"))) for t in trials}
        assert len(drawn) == 1
        sizes = {t.definition["model"]["components"] for t in trials if "components" in t.definition["model"]}
        assert name.endswith("-components") or len(sizes) <= 1
        assert len({t.key for t in trials}) == len(trials)  # and yet the arms differ


def test_trials_of_a_study_differ_from_each_other_and_from_another_study():
    rates = [
        [t.definition["training"]["learning_rate"] for t in search_trials(STUDIES[name], SUBJECT, PAPER)["lstm" + ending]]
        for name, ending in (("sequences", ""), ("sequence-losses", "/adaptive_hinge"))
    ]
    assert len({*rates[0], *rates[1]}) == 40


def test_a_longer_search_begins_as_a_shorter_one():
    short, long = (search_trials(STUDY, SUBJECT, replace(PAPER, trials=n)) for n in (3, 7))
    assert all([t.key for t in short[arm]] == [t.key for t in long[arm][:3]] for arm in STUDY.arms)


def test_draws_stay_within_the_ranges():
    for trial in search_trials(STUDIES["factorization"], SUBJECT, replace(PAPER, trials=200))["projection_mixture"]:
        found, model = trial.definition["training"], trial.definition["model"]
        assert found["batch_size"] in SPACE_OF_PAPER["batch_size"] and model["components"] in (2, 4, 6, 8) and 0.1 <= model["gain"] <= 50
        for name in ("learning_rate", "l2"):
            low, high = SPACE_OF_PAPER[name].support()
            assert low <= found[name] <= high


SPACE_OF_PAPER = PAPER.space["factorization"]


def test_arms_with_a_given_number_of_tastes_keep_it():
    plan = search_trials(STUDIES["sequence-components"], SUBJECT, PAPER)
    assert {t.definition["model"]["components"] for t in plan["mixture_lstm/8"]} == {8}


@pytest.mark.parametrize(
    "other", [replace(SUBJECT, dataset="films"), replace(SUBJECT, fingerprint="1" * 16), replace(SUBJECT, max_length=40)]
)
def test_other_data_make_another_key(other):
    ours, theirs = ({t.key for trials in search_trials(STUDY, s, PAPER).values() for t in trials} for s in (SUBJECT, other))
    assert not ours & theirs


def test_seeds_change_nothing_but_the_seed():
    winner = search_trials(STUDY, SUBJECT, TINY)["lstm"][1]
    again = seed_trials(STUDY, winner, 3)
    assert [t.definition["training"]["seed"] for t in again] == [1, 2, 3] and winner.definition["training"]["seed"] == 0
    for trial in again:
        assert trial.definition | {"training": trial.definition["training"] | {"seed": 0}} == winner.definition
        assert (trial.stage, trial.index) == ("seeds", trial.definition["training"]["seed"])


def test_winners_go_to_other_splits_without_a_search_of_their_own():
    study = STUDIES["sequence-splits"]
    plan = search_trials(study, SUBJECT, TINY)
    assert {t.key for trials in plan.values() for t in trials} == {
        t.key for trials in search_trials(STUDY, SUBJECT, TINY).values() for t in trials
    }
    for trial in seed_trials(study, plan["lstm"][1], 3):
        changed = {"training": trial.definition["training"] | {"seed": 0}, "split": trial.definition["split"] | {"seed": 0}}
        assert trial.definition | changed == plan["lstm"][1].definition
        assert trial.definition["split"]["seed"] == trial.definition["training"]["seed"] == trial.index
        assert trial.study == "sequence-splits" and trial.stage == "seeds"


def test_other_splits_train_only_the_winners_of_a_search_that_is_there(tiny, tmp_path):
    assert complete(run("factorization", tiny, tmp_path))
    before = essence(tmp_path, "factorization", tiny)
    assert run("factorization-splits", tiny, tmp_path).missing == []
    assert essence(tmp_path, "factorization", tiny) == before
    records = Ledger(tmp_path).read(tiny.name, "factorization-splits").values()
    assert sorted((r["arm"], r["definition"]["split"]["seed"]) for r in records) == sorted(product(STUDIES["factorization"].arms, (1, 2)))


def test_more_seeds_train_the_winners_on_the_same_split_with_seeds_of_their_own(tiny, tmp_path):
    assert complete(run("sequences", tiny, tmp_path)) and run("sequence-seeds", tiny, tmp_path).missing == []
    first, more = ([one["definition"] for one in Ledger(tmp_path).read(tiny.name, name).values() if one["stage"] == "seeds"]
                   for name in ("sequences", "sequence-seeds"))  # fmt: skip
    assert sorted(one["training"]["seed"] for one in first) == [1, 1, 2, 2] and sorted(one["training"]["seed"] for one in more) == [
        6,
        6,
        7,
        7,
    ]
    same = [one | {"training": one["training"] | {"seed": 1}} for one in more]
    assert all(one in first for one in same) and {one["split"]["seed"] for one in more} == {0}


def test_without_early_stopping_the_trials_of_the_main_study_go_on(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(PATIENCE, "sequences", {"validate_every": 1, "patience": 1})
    budget, ledger = replace(TINY, trials=2, epochs={"sequences": 30}), Ledger(tmp_path)
    for name in ("sequences", "sequence-patience"):
        assert complete(experiments.run(name, tiny, ledger, budget))
    first, patient = ({(one["arm"], one["index"]): one for one in ledger.read(tiny.name, name).values() if one["stage"] == "search"}
                      for name in ("sequences", "sequence-patience"))  # fmt: skip
    assert patient.keys() == first.keys() == set(product(("lstm", "mixture_lstm"), (0, 1)))
    for which, one in patient.items():
        settings, shorter = one["definition"]["training"], first[which]
        assert settings["patience"] == PAPER.epochs["sequences"] and len(one["validation_mrr"]) == 30
        assert one["definition"] | {"training": settings | {"patience": 1}} == shorter["definition"]
        assert shorter["validation_mrr"].items() <= one["validation_mrr"].items()  # the same training, going on
        assert retrained.stopped(one, 1) == (shorter["best_epoch"], shorter["validation"]["mrr"])
    assert any(len(one["validation_mrr"]) < 30 for one in first.values())


def test_other_splits_run_the_search_that_they_rest_on_where_it_belongs(tiny, tmp_path):
    assert run("sequence-splits", tiny, tmp_path).missing == []
    searched, again = (Ledger(tmp_path).read(tiny.name, name).values() for name in ("sequences", "sequence-splits"))
    assert {r["stage"] for r in searched} == {"search"} and len(searched) == TINY.trials * len(STUDY.arms)
    assert {r["stage"] for r in again} == {"seeds"} and len(again) == TINY.seeds * len(STUDY.arms)


def test_an_unknown_study_is_an_error_that_suggests_one(tiny):
    with pytest.raises(ValueError, match="no study 'sequence': did you mean 'sequences'"):
        studies.study_for("sequence", tiny)


def test_a_sequence_study_needs_an_order_in_time(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"the study sequences needs: its dataset\.toml says `ordered = false`"):
        run("sequences", replace(tiny, ordered=False), tmp_path)
    with pytest.raises(ValueError, match="which the study sequences needs: there is no column timestamp"):
        run("sequences", replace(tiny, ordered=False, timestamps=None), tmp_path)


@pytest.mark.parametrize("shard", [(0, 0), (0, 2), (3, 2)])
def test_a_share_of_none_is_an_error(shard, tiny):
    with pytest.raises(ValueError, match=r"shard must be \(i, n\) with i from 1 to n"):
        experiments.run("factorization", tiny, Ledger(), TINY, shard=shard)


# --- selection, on records that nobody trained


def said(trials, mrr, status="done"):
    """Records that give the trials these validation MRRs; their test MRRs say the opposite."""
    return {t.key: {"key": t.key, "index": t.index, "status": status, "validation": {"mrr": m}, "test": {"mrr": 1 - m}}
            for t, m in zip(trials, mrr, strict=False)}  # fmt: skip


def test_validation_chooses_the_winner():
    plan = search_trials(STUDY, SUBJECT, TINY)
    found = select(STUDY, said(plan["lstm"], [0.1, 0.3, 0.2]) | said(plan["mixture_lstm"], [0.5, 0.2, 0.3]), SUBJECT, TINY)
    assert {arm: winner["index"] for arm, winner in found.winners.items()} == {"lstm": 1, "mixture_lstm": 0}
    expected = {t.key for arm, i in (("lstm", 1), ("mixture_lstm", 0)) for t in seed_trials(STUDY, plan[arm][i], 2)}
    assert {t.key for t in found.missing} == expected and found.trials == 3 and not complete(found)


def test_every_arm_is_chosen_among_the_same_number_of_trials():
    plan = search_trials(STUDY, SUBJECT, TINY)
    found = select(STUDY, said(plan["lstm"], [0.1, 0.2, 0.9]) | said(plan["mixture_lstm"], [0.4, 0.3]), SUBJECT, TINY)
    assert found.trials == 2 and found.winners["lstm"]["index"] == 1
    assert [t.key for t in found.missing] == [plan["mixture_lstm"][2].key]


def test_the_last_complete_search_counts_until_a_larger_one_is_complete():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.2, 0.1]) | said(plan["mixture_lstm"], [0.4, 0.3])
    for arm in STUDY.arms:
        records |= said(seed_trials(STUDY, plan[arm][0], 2), [0.3, 0.3])
    assert select(STUDY, records, SUBJECT, replace(TINY, trials=2)).missing == []
    records |= said(plan["lstm"], [0.2, 0.1, 0.9]) | said(plan["mixture_lstm"], [0.4, 0.3, 0.2])  # another winner, not yet retrained
    found = select(STUDY, records, SUBJECT, TINY)
    assert found.trials == 2 and complete(found) and found.winners["lstm"]["index"] == 0
    again = seed_trials(STUDY, plan["lstm"][2], 2)
    assert [t.key for t in found.missing] == [t.key for t in again]
    found = select(STUDY, records | said(again, [0.8, 0.8]), SUBJECT, TINY)
    assert found.trials == 3 and found.winners["lstm"]["index"] == 2 and found.missing == []


def test_a_seed_with_which_a_winner_fails_counts_for_no_arm_and_does_not_leave_the_study_unfinished():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.3, 0.2, 0.1]) | said(plan["mixture_lstm"], [0.3, 0.2, 0.1])
    first, second = seed_trials(STUDY, plan["lstm"][0], 2)
    apart = said([first], [0.3]) | said(seed_trials(STUDY, plan["mixture_lstm"][0], 2)[1:], [0.3])  # two machines have one model's each
    none_yet = select(STUDY, records | apart, SUBJECT, TINY)
    assert (none_yet.seeds, none_yet.tried, len(none_yet.missing)) == (0, 0, 2)
    records |= said(seed_trials(STUDY, plan["mixture_lstm"][0], 2), [0.3, 0.3]) | said([first], [0.3])
    before, after = (outcomes.Results(select(STUDY, records | more, SUBJECT, TINY), {}) for more in ({}, said([second], [0], "failed")))
    assert not before.done and before.seeds_done == "1 of 2" and [t.key for t in before.selection.missing] == [second.key]
    assert after.done and after.seeds_done == "1 of 2, 1 failed" and not after.selection.missing
    assert {arm: [one["index"] for one in made] for arm, made in after.selection.finalists.items()} == {"lstm": [1], "mixture_lstm": [1]}


def test_a_seed_that_fails_does_not_bring_back_a_smaller_search():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.2, 0.1, 0.3]) | said(plan["mixture_lstm"], [0.4, 0.3, 0.2])
    for arm in STUDY.arms:
        records |= said(seed_trials(STUDY, plan[arm][0], 2), [0.3, 0.3])
    first, second = seed_trials(STUDY, plan["lstm"][2], 2)  # the winner of all three; the first had won of two
    records |= said([first], [0.3])
    found = [select(STUDY, records | said([second], [0.3], status), SUBJECT, TINY) for status in ("done", "failed")]
    assert [(one.trials, one.seeds, one.tried) for one in found] == [(3, 2, 2), (3, 1, 2)]


def test_a_search_in_which_every_arm_has_a_winner_counts_before_one_in_which_some_failed():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"][:2], [0.2, 0.1]) | said(plan["mixture_lstm"][:1], [0], "failed") | said(plan["mixture_lstm"][1:2], [0.1])
    records |= said(seed_trials(STUDY, plan["lstm"][0], 2), [0.3, 0.3]) | said(seed_trials(STUDY, plan["mixture_lstm"][1], 1), [0.3])
    found = select(STUDY, records, SUBJECT, TINY)
    assert (found.trials, found.seeds, set(found.winners)) == (2, 1, set(STUDY.arms))


def test_an_arm_that_was_added_later_does_not_hold_up_the_others():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.1, 0.2, 0.3]) | said(seed_trials(STUDY, plan["lstm"][2], 2), [0.3, 0.3])
    found = select(STUDY, records, SUBJECT, TINY)
    assert (found.trials, list(found.winners), found.ahead, complete(found)) == (3, ["lstm"], ["mixture_lstm"], True)
    assert [t.key for t in found.missing] == [t.key for t in plan["mixture_lstm"]]


def test_a_trial_without_anything_to_draw_is_missing_once():
    trial = search_trials(STUDY, SUBJECT, TINY)["lstm"][0]
    assert plans._lacking([trial, replace(trial, index=1)], {}) == [trial] and plans._lacking([trial], {trial.key: {}}) == []


def test_a_study_may_plan_fewer_trials_than_the_budget_but_never_more():
    assert {name: PAPER.of(study).trials for name, study in STUDIES.items() if name in ("sequences", "sequence-losses")} == {
        "sequences": 20, "sequence-losses": 10,
    }  # fmt: skip
    assert all(PAPER.of(study).trials >= 8 for study in STUDIES.values())
    assert PAPER.of(replace(STUDY, trials=50)) == PAPER and DEMO.of(STUDIES["sequence-losses"]) == DEMO


def test_capacity_controls_have_as_many_parameters_as_the_mixture():
    def size(study, arm):
        model = search_trials(STUDIES[study], SUBJECT, TINY)[arm][0].definition["model"]
        items, users = 10, 100
        built = models.build(n_items=items, n_users=users, **model)
        encoder = [p for name, p in built.named_parameters() if name not in ("items.weight", "biases.weight")]
        return sum(p.numel() for p in encoder) / (users if study.startswith("factorization") else 1)

    mixture, control = (size("sequence-capacity", arm) for arm in ("mixture_lstm/dim 64", "lstm/dim 91"))
    assert mixture < control < 1.01 * mixture
    assert size("factorization-capacity", "embedding_mixture/dim 32") == size("factorization-capacity", "factorization/dim 256") == 256


def test_the_control_for_size_is_as_large_as_the_mixture_of_every_trial_and_shares_all_else():
    size, main = (search_trials(STUDIES[name], SUBJECT, PAPER) for name in ("factorization-size", "factorization"))
    assert [t.key for t in size["factorization"]] == [t.key for t in main["factorization"]]
    assert {t.study for arm in main for t in size.get(arm, [])} == {"factorization"}
    larger = [size[f"factorization/{arm}"] for arm in ("as large as the mixture", "half as large")]
    for wide, half, mixture in zip(*larger, main["embedding_mixture"], strict=True):
        built = [models.build(n_items=10, n_users=100, **trial.definition["model"]) for trial in (wide, half, mixture)]
        numbers = [sum(p.numel() for name, p in b.named_parameters() if name not in ("items.weight", "biases.weight")) for b in built]
        assert numbers[0] == 2 * numbers[1] == numbers[2] and half.definition["training"] == mixture.definition["training"]
        assert wide.definition["training"] == mixture.definition["training"]
        assert wide.study == "factorization-size" and seed_trials(STUDIES[wide.study], wide, 1)[0].study == wide.study


def test_a_study_beside_another_trains_shared_arms_once_and_where_they_belong(tiny, tmp_path):
    assert run("factorization-size", tiny, tmp_path).missing == []
    assert {r["arm"] for r in Ledger(tmp_path).read(tiny.name, "factorization-size").values()} == set(STUDIES["factorization-size"].own)
    assert len(STUDIES["factorization-size"].own) == 2
    before = essence(tmp_path, "factorization", tiny)
    assert run("factorization", tiny, tmp_path).missing == []
    after = essence(tmp_path, "factorization", tiny)
    assert len(after) - len(before) == TINY.trials + TINY.seeds and {key: after[key] for key in before} == before


def test_all_folders_are_prepared_before_anything_is_computed(tiny, tmp_path, monkeypatch):
    (tmp_path / tiny.name).mkdir()
    (tmp_path / tiny.name / "factorization").write_text("in the way")
    monkeypatch.setattr(experiments, "run_trial", lambda *_: pytest.fail("a trial ran"))
    with pytest.raises(OSError, match="factorization"):
        run("factorization-size", tiny, tmp_path)


def test_an_empty_ledger_lacks_everything():
    found = select(STUDY, {}, SUBJECT, TINY)
    assert (found.trials, found.winners, found.finalists, len(found.missing), complete(found)) == (0, {}, {}, 6, False)


def test_a_failed_trial_is_not_chosen():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.1, 0.2, 0.3]) | said(plan["mixture_lstm"], [0.1, 0.2, 0.3])
    records |= {t.key: {"key": t.key, "status": "failed"} for t in plan["lstm"][1:]}
    assert select(STUDY, records, SUBJECT, TINY).winners["lstm"]["index"] == 0


def test_an_arm_that_always_failed_leaves_the_study_incomplete_but_the_others_go_on():
    plan = search_trials(STUDY, SUBJECT, TINY)
    records = said(plan["lstm"], [0.1, 0.2, 0.3]) | {t.key: {"key": t.key, "status": "failed"} for t in plan["mixture_lstm"]}
    found = select(STUDY, records, SUBJECT, TINY)
    again = seed_trials(STUDY, plan["lstm"][2], 2)
    assert set(found.winners) == {"lstm"} and {t.key for t in found.missing} == {t.key for t in again}
    found = select(STUDY, records | said(again, [0.3, 0.3]), SUBJECT, TINY)
    assert found.missing == [] and not complete(found)


def test_all_arms_are_compared_on_the_same_seeds():
    plan = search_trials(STUDY, SUBJECT, TINY)
    budget = replace(TINY, seeds=3)
    records = said(plan["lstm"], [0.3, 0.2, 0.1]) | said(plan["mixture_lstm"], [0.3, 0.2, 0.1])
    again = {arm: seed_trials(STUDY, plan[arm][0], 3) for arm in STUDY.arms}
    for trials in again.values():
        records |= said(trials, [0.1, 0.1, 0.1])
    records[again["lstm"][1].key] = {"key": again["lstm"][1].key, "status": "failed"}
    found = select(STUDY, records, SUBJECT, budget)
    assert {arm: [r["index"] for r in finalists] for arm, finalists in found.finalists.items()} == {"lstm": [1, 3], "mixture_lstm": [1, 3]}


# --- running


def test_a_study_leaves_a_record_of_every_trial(undisturbed, tiny):
    records = essence(undisturbed, "factorization", tiny).values()
    assert sorted((r["arm"], r["stage"], r["index"]) for r in records) == [
        (arm, stage, i) for arm in sorted(STUDIES["factorization"].arms) for stage, first, last in (("search", 0, 2), ("seeds", 1, 2))
        for i in range(first, last + 1)
    ]  # fmt: skip
    for record in records:
        assert record["status"] == "done" and 0 < record["test"]["mrr"] < 1 and record["parameters"] > 0
        assert record["validation"]["mrr"] == record["validation_mrr"][str(record["best_epoch"])]
        assert record["dataset"] == "synthetic" and record["definition"]["fingerprint"] == tiny.fingerprint


def test_the_winners_arrays_average_to_their_metrics(undisturbed, tiny):
    ledger = Ledger(undisturbed)
    for record in ledger.read("synthetic", "factorization").values():
        if record["stage"] == "seeds":
            arrays = ledger.arrays(record)
            assert arrays["reciprocal_ranks"].mean() == pytest.approx(record["test"]["mrr"], rel=1e-5)
            assert len(arrays["users"]) == len(set(arrays["users"].tolist())) <= tiny.n_users


@pytest.mark.parametrize("kind", ["factorization", "lstm"])
def test_an_evaluation_holds_the_means_of_all_metrics(kind, tiny):
    split, model = split_for(kind, tiny), model_for(kind, tiny)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    values, users, metrics = experiments.evaluate(model, split)
    ranks = evaluation.interaction_ranks(model, split).ranks if kind == "factorization" else evaluation.sequence_ranks(model, split.test)
    means = {name: of_users.mean() for name, of_users in evaluation.user_metrics(ranks.reshape(len(values), -1)).items()}
    if kind == "lstm":
        del means["first_hit_mrr"]  # of one target it is the MRR
        means["mrr_over_users"] = np.mean([values[users == user].mean() for user in np.unique(users)])
    assert metrics == pytest.approx(means) and len(set(metrics.values())) == len(metrics)


def test_running_twice_changes_no_file(undisturbed, tiny):
    def state():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in undisturbed.rglob("*") if path.is_file()}

    before = state()
    assert run("factorization", tiny, undisturbed, report=lambda record: pytest.fail("nothing was left to do")).missing == []
    assert state() == before


def test_an_interrupted_study_goes_on_where_it_stopped(undisturbed, tiny, tmp_path):
    seen = []

    def interrupt(record):
        seen.append(record["key"])
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("factorization", tiny, tmp_path, report=interrupt)
    assert set(essence(tmp_path, "factorization", tiny)) == set(seen) and len(seen) == 2
    more = []
    run("factorization", tiny, tmp_path, report=lambda record: more.append(record["key"]))
    assert not set(more) & set(seen)
    assert essence(tmp_path, "factorization", tiny) == essence(undisturbed, "factorization", tiny)


def test_two_processes_give_the_same_records(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "cores", lambda: 2)  # one thread for each, as here
    assert torch.get_num_threads() == 1
    budget, found = replace(TINY, trials=1, seeds=1), []
    for jobs in (1, 2):
        where = tmp_path / str(jobs)
        assert complete(experiments.run("factorization", tiny, Ledger(where), budget, jobs=jobs))
        found.append({key: {k: v for k, v in r.items() if k != "machine"} for key, r in essence(where, "factorization", tiny).items()})
    assert found[0] == found[1] and len(found[0]) == 6


def test_a_worker_that_is_killed_is_one_clear_error_and_costs_no_finished_trial(tiny, tmp_path):
    kept = []

    def kill(record):
        kept.append(record["key"])
        for child in multiprocessing.active_children()[: len(kept) == 2]:
            child.kill()

    budget, ledger = replace(TINY, trials=2, seeds=1), Ledger(tmp_path)
    with pytest.raises(RuntimeError, match=r"a worker process died, .*: finished trials are kept; try fewer --jobs\."):
        experiments.run("factorization", tiny, ledger, budget, jobs=2, report=kill)
    assert sorted(ledger.read(tiny.name, "factorization")) == sorted(kept) and 2 <= len(kept) < 6
    assert not multiprocessing.active_children() and not list(tmp_path.rglob("*.tmp"))
    assert complete(experiments.run("factorization", tiny, ledger, budget))


def test_processes_leave_out_no_trial(tiny, monkeypatch):
    class Immediate:
        """A pool that works at once, in this process."""

        def __init__(self, jobs, context, start, arguments):
            pass

        def submit(self, work, trial):
            future = workers.Future()
            future.set_result(({"key": trial.key}, {}))
            return future

        def shutdown(self, **options):
            pass

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Immediate)
    trials = search_trials(STUDIES["factorization"], Subject.of(tiny), TINY)["factorization"]
    made = experiments._in_processes(iter(trials), tiny, 2, "cpu", Ledger())
    assert sorted(record["key"] for record, _ in made) == sorted(trial.key for trial in trials)


def test_no_minutes_start_nothing(tiny, tmp_path):
    found = run("factorization", tiny, tmp_path, minutes=0)
    assert len(found.missing) == 9 and not list(tmp_path.iterdir())


def test_a_sequence_study_runs_in_memory_as_on_disk(tiny, tmp_path):
    found, arrays = experiments.compute("sequences", tiny, TINY)
    assert complete(found) and not found.missing and set(found.winners) == {"lstm", "mixture_lstm"}
    on_disk = run("sequences", tiny, tmp_path)
    for arm, winner in found.winners.items():
        assert winner["test"] == on_disk.winners[arm]["test"] and set(winner["test"]) >= {
            "mrr",
            "mrr_over_users",
            "recall_at_10",
            "ndcg_at_10",
        }
    for records in found.finalists.values():
        for record in records:
            assert arrays[record["key"]]["reciprocal_ranks"].mean() == pytest.approx(record["test"]["mrr"], rel=1e-5)


def test_a_trial_that_diverges_is_recorded_as_failed_and_not_chosen(tiny, tmp_path, monkeypatch):
    first = search_trials(STUDIES["factorization"], Subject.of(tiny), TINY)["factorization"][0]
    fit = training.fit

    def fragile(model, data, settings, checkpoint):
        if settings.learning_rate == first.definition["training"]["learning_rate"] and settings.seed == 0:
            raise training.Diverged("the loss of epoch 1 is not a number: lower the learning rate.")
        return fit(model, data, settings, checkpoint)

    monkeypatch.setattr(training, "fit", fragile)
    found = run("factorization", tiny, tmp_path)
    record = Ledger(tmp_path).read("synthetic", "factorization")[first.key]
    assert (record["status"], record["definition"]) == ("failed", first.definition) and "learning rate" in record["error"]
    assert complete(found) and not found.missing and all(winner["index"] != 0 for winner in found.winners.values())


def test_a_learning_rate_beyond_reason_really_diverges(tiny):
    trial = search_trials(STUDIES["factorization"], Subject.of(tiny), TINY)["factorization"][0]
    wild = replace(trial, definition=trial.definition | {"training": trial.definition["training"] | {"learning_rate": 1e30}})
    record, arrays = experiments.run_trial(wild, tiny)
    assert record["status"] == "failed" and "now 1e+30" in record["error"] and not arrays
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_data_that_changed_are_an_error(tiny):
    trial = search_trials(STUDIES["factorization"], Subject.of(tiny), TINY)["factorization"][0]
    changed = replace(tiny, timestamps=tiny.timestamps + 1)
    with pytest.raises(ValueError, match=f"synthetic has changed: its fingerprint is {changed.fingerprint}, not {tiny.fingerprint}"):
        experiments.train(trial.definition, changed)
    with pytest.raises(ValueError, match="these are the interactions of another, not of synthetic: load those"):
        experiments.train(trial.definition, replace(tiny, name="another"))


def test_records_hold_neither_paths_nor_host_names(undisturbed, tiny):
    import platform

    text = json.dumps(list(essence(undisturbed, "factorization", tiny).values()))
    assert str(undisturbed) not in text and platform.node() not in text


def test_winners_also_say_how_their_binary_codes_and_tastes_fare(undisturbed):
    ledger = Ledger(undisturbed)
    for record in ledger.read("synthetic", "factorization").values():
        if record["stage"] == "search":
            assert not {"binary", "tastes"} & set(record)
            continue
        arrays = ledger.arrays(record)
        assert arrays["binary_reciprocal_ranks"].mean() == pytest.approx(record["binary"]["mrr"], rel=1e-5)
        assert record["binary"]["bytes"]["item"]["binary"] < record["binary"]["bytes"]["item"]["real"]
        assert len(arrays["binary_reciprocal_ranks"]) == len(arrays["users"])
        if record["arm"] == "factorization":
            assert "tastes" not in record and "effective_tastes" not in arrays
        else:
            m = record["definition"]["model"]["components"]
            assert len(arrays["effective_tastes"]) == len(arrays["users"]) and sum(record["tastes"]["users_by_taste"]) == pytest.approx(1)
            assert arrays["effective_tastes"].mean() == pytest.approx(record["tastes"]["effective_tastes"], rel=1e-5)
            assert arrays["effective_tastes"].min() > 0.999 and arrays["effective_tastes"].max() < m + 0.001


def test_a_study_can_be_run_for_some_arms_alone(tiny, tmp_path):
    budget = replace(studies.DEMO, trials=1, seeds=1, epochs={"sequences": 1, "factorization": 5})
    selection = experiments.run("factorization", tiny, Ledger(tmp_path), budget, arms=["embedding_mixture"])
    assert list(selection.winners) == ["embedding_mixture"] and not selection.missing
    assert {record["arm"] for record in Ledger(tmp_path).read(tiny.name, "factorization").values()} == {"embedding_mixture"}
    with pytest.raises(ValueError, match="no arm 'embeding_mixture': did you mean 'embedding_mixture'"):
        experiments.run("factorization", tiny, Ledger(tmp_path), budget, arms=["embeding_mixture"])


def test_losses_of_one_negative_are_also_there_with_as_many_as_the_adaptive_hinge_has(tiny):
    trials = search_trials(STUDIES["factorization-losses"], Subject.of(tiny), DEMO)
    drawn = {arm: made[0].definition["training"] for arm, made in trials.items()}
    for loss in ("bpr", "log_bpr", "hinge"):
        one, five = (drawn[f"embedding_mixture/{loss}{many}"] for many in ("", " of 5"))
        assert five == one | {"negatives": 5} and one["negatives"] is None
    assert len(trials) == 2 * (5 + 3)
