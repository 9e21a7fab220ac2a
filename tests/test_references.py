from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import complete, popularity_model, split_for
from scipy.stats import loguniform

from mixlib import evaluation, experiments, references, splits
from mixlib.ledger import Ledger
from mixlib.plans import Subject, search_trials, seed_trials
from mixlib.studies import PAPER, STUDIES, Budget

SETTINGS: dict[str, dict] = {
    "popularity": {}, "markov": {"smoothing": 2.5}, "item_knn": {"neighbours": 7, "shrinkage": 3.0}, "ease": {"l2": 20.0},
    "als": {"dim": 5, "l2": 0.1, "alpha": 4.0, "iterations": 8},
}  # fmt: skip
FAMILIES = {"lstm": "sequences", "factorization": "factorization"}
CASES = [(kind, like) for like in FAMILIES for kind in SETTINGS if (kind, like) != ("markov", "factorization")]


def fit(kind, split, **other):
    return references.fit(split, kind, **(SETTINGS[kind] | other))


def rows_of(split):
    """Users, or contexts, to score."""
    return torch.as_tensor(split.test.items[:, :-1] if isinstance(split.test, splits.Sequences) else np.unique(split.test.users))


def histories(split):
    """The items of every user in train, and what is known of each of `rows_of`: sets."""
    train = split.train
    chosen = defaultdict(set)
    for user, items in zip(train.users.tolist(), train.items.tolist(), strict=True):
        chosen[user].update(items if isinstance(items, list) else [items])
    rows = rows_of(split).tolist()
    known = [set(row) if isinstance(row, list) else chosen.get(row, set()) for row in rows]
    return [past - {0} for past in chosen.values()], [past - {0} for past in known]


def slowly(kind, split):
    """Scores (b, n_items + 1) by the definitions, one user and one item after another."""
    chosen, known = histories(split)
    n = split.train.n_items + 1
    x = np.array([[item in past for item in range(n)] for past in chosen], float)
    past = np.array([[item in one for item in range(n)] for one in known], float)
    counts = x.sum(axis=0)
    times = np.bincount(split.train.items.ravel(), minlength=n) * (np.arange(n) > 0)
    if kind == "popularity":
        return np.tile(times, (len(known), 1))
    if kind == "markov":
        follows = np.zeros((n, n))
        for window in split.train.items.tolist():
            for before, after in pairwise(window):
                follows[before, after] += before != 0
        last = [row[-1] for row in rows_of(split).tolist()]
        return follows[last] + 2.5 * times / times.sum()
    if kind == "item_knn":
        similar = np.zeros((n, n))
        for i in range(1, n):
            cosine = [(x[:, i] @ x[:, j]) / (np.sqrt(counts[i] * counts[j]) + 3) if i != j and j else -1 for j in range(n)]
            for j in sorted(range(n), key=lambda j: (-cosine[j], j))[:7]:
                similar[i, j] = max(cosine[j], 0)
        return past @ similar
    if kind == "ease":  # the ridge regression of every item on the others
        weights = np.zeros((n, n))
        for j in range(1, n):
            others = [i for i in range(1, n) if i != j]
            a = x[:, others]
            weights[others, j] = np.linalg.solve(a.T @ a + 20 * np.eye(len(others)), a.T @ x[:, j])
        return past @ weights
    raise AssertionError(kind)


@pytest.mark.parametrize("kind, like", [case for case in CASES if case[0] != "als"])
def test_scores_are_those_of_the_definitions(kind, like, tiny):
    split = split_for(like, tiny)
    np.testing.assert_allclose(fit(kind, split).scores(rows_of(split)).numpy(), slowly(kind, split), rtol=2e-4, atol=2e-4)


def test_als_solves_its_own_equations(tiny):
    split = split_for("lstm", tiny)
    scores = fit("als", split).scores(rows_of(split)).numpy()
    _, known = histories(split)
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(5, 0.1, 4.0, iterations=8, num_threads=1, random_state=0)
    model.fit(references.Data.of(split).chosen, show_progress=False)
    items = model.item_factors.astype(float)
    for row, past in zip(scores[:20], known[:20], strict=True):
        own = items[sorted(past)]
        user = np.linalg.solve(items.T @ items + 3 * own.T @ own + 0.1 * np.eye(5), 4 * own.sum(axis=0))
        np.testing.assert_allclose(row, items @ user, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("like", FAMILIES)
def test_popularity_ranks_as_a_model_that_knows_only_popularity(like, tiny):
    split = split_for(like, tiny)
    found, expected = (experiments.evaluate(model, split)[0] for model in (fit("popularity", split), popularity_model(like, split)))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kind, like", CASES)
def test_ranks_do_not_depend_on_how_users_are_batched(kind, like, tiny, monkeypatch):
    split = split_for(like, tiny)
    model = fit(kind, split)
    together = experiments.evaluate(model, split)[0]
    monkeypatch.setattr(evaluation, "CHUNK_BYTES", 1)
    np.testing.assert_allclose(experiments.evaluate(model, split)[0], together, rtol=1e-6)
    assert model.parameters > 0 and (together > 0).all()


@pytest.mark.parametrize("like", FAMILIES)
def test_parameters_are_the_numbers_that_are_learnt(like, tiny):
    found = {kind: fit(kind, split_for(like, tiny)).parameters for kind in ("popularity", "ease", "als")}
    vectors = tiny.n_items + 1 + (tiny.n_users if like == "factorization" else 0)  # windows are folded in
    assert found == {"popularity": tiny.n_items, "ease": tiny.n_items**2, "als": 5 * vectors}


@pytest.mark.parametrize("kind, like", CASES)
def test_what_a_method_learns_does_not_come_from_the_held_out_parts(kind, like, tiny):
    split = split_for(like, tiny)
    other = replace(split, validation=split.test, test=split.validation)
    assert torch.equal(fit(kind, split).scores(rows_of(split)), fit(kind, other).scores(rows_of(split)))


@pytest.mark.parametrize("kind", ["item_knn", "ease", "als"])
def test_methods_that_know_the_user_beat_popularity_where_users_have_tastes(kind, tiny):
    split = split_for("factorization", tiny)
    rates = {name: experiments.evaluate(fit(name, split), split)[0].mean() for name in (kind, "popularity")}
    assert rates[kind] > 1.3 * rates["popularity"]


def test_markov_knows_what_comes_after_the_last_item():
    windows = np.array([[1, 2, 3, 1, 2, 3], [0, 0, 0, 2, 3, 1]])
    sequences = splits.Sequences(windows, np.array([0, 1]), 4, 2)
    model = fit("markov", splits.Split(sequences, sequences, sequences), smoothing=0.01)
    assert evaluation.sequence_ranks(model, sequences).tolist() == [1, 1]
    assert model.scores(torch.tensor([[4], [0]])).argmax(dim=1).tolist() == [1, 1]  # nothing followed: popularity, ties by id


def test_markov_needs_windows(tiny):
    with pytest.raises(ValueError, match="needs an order in time"):
        fit("markov", split_for("factorization", tiny))


def test_an_unknown_reference_is_an_error_that_suggests_one(tiny):
    with pytest.raises(ValueError, match="did you mean 'ease'"):
        references.fit(split_for("factorization", tiny), "eas")


def test_without_implicit_the_error_says_what_to_install(tiny, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "implicit.cpu.als", None)
    with pytest.raises(ImportError, match=r"pip install \"\.\[references\]\""):
        fit("als", split_for("factorization", tiny))


# --- as arms of a study

SPACE = {
    "batch_size": [64], "learning_rate": loguniform(5e-3, 5e-2), "l2": loguniform(1e-9, 1e-5), "components": [2], "gain": loguniform(1, 2),
}  # fmt: skip
TINY = Budget(2, 2, {"sequences": 1, "factorization": 1}, dict.fromkeys(PAPER.dim, 4), dict.fromkeys(PAPER.space, SPACE))


@pytest.mark.parametrize("name", ["sequence-references", "factorization-references"])
def test_references_run_like_any_study_and_only_chance_is_repeated(name, tiny, tmp_path):
    ledger = Ledger(tmp_path)
    found = experiments.run(name, tiny, ledger, TINY)
    assert complete(found) and not found.missing and set(found.winners) == set(STUDIES[name].arms)
    for arm, records in found.finalists.items():
        assert len(records) == 2 and len({record["key"] for record in records}) == (2 if arm == "als" else 1)
        for record in records:
            assert ledger.arrays(record)["reciprocal_ranks"].mean() == pytest.approx(record["test"]["mrr"], rel=1e-5)
            assert "binary" not in record and record["parameters"] > 0
    searched = [record["arm"] for record in ledger.read("synthetic", name).values() if record["stage"] == "search"]
    assert searched.count("popularity") == 1 and searched.count("ease") == 2


def test_a_reference_stays_on_the_cpu_and_its_record_says_so(tiny, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"the card {device}")
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: device)
    trial = search_trials(STUDIES["sequence-references"], Subject.of(tiny), TINY)["popularity"][0]
    record, _ = experiments.run_trial(trial, tiny, "cuda")
    assert record["device"].startswith("cpu, ") and record["peak_memory_bytes"] != "cuda"
    assert (experiments._device_name("cuda:1"), experiments.peak_memory("cuda:1")) == ("the card cuda:1", "cuda:1")


def test_settings_are_drawn_within_their_ranges_and_in_equal_number():
    study = STUDIES["factorization-references"]
    plan = search_trials(study, Subject("books", "0" * 16, 50, 10), PAPER)
    assert {len(trials) for trials in plan.values()} == {20}
    assert {len({t.key for t in trials}) for arm, trials in plan.items() if arm != "popularity"} == {20}
    for trial in (t for trials in plan.values() for t in trials):
        model = trial.definition["model"]
        space = references.KINDS[model["kind"]].space
        assert set(model) == {"kind", *space} | ({"dim"} if model["kind"] == "als" else set())
        for setting, values in space.items():
            low, high = (min(values), max(values)) if isinstance(values, list) else values.support()
            assert low <= model[setting] <= high
    assert {t.definition["training"]["seed"] for t in seed_trials(study, plan["ease"][0], 3)} == {1}
    assert [t.definition["training"]["seed"] for t in seed_trials(study, plan["als"][0], 3)] == [1, 2, 3]


def test_a_method_that_cannot_hold_the_data_fails_alone(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(references, "LARGEST", 10)
    found = experiments.run("factorization-references", tiny, Ledger(tmp_path), replace(TINY, trials=1, seeds=1))
    assert set(found.winners) == {"popularity", "item_knn", "als"} and found.seeds == 1 and not found.missing
    failed = [r for r in Ledger(tmp_path).read("synthetic", "factorization-references").values() if r["status"] == "failed"]
    assert len(failed) == 1 and failed[0]["error"].endswith("40 items are too many: it is run up to 10.")
