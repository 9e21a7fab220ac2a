import json
import re

import numpy as np
import pytest
import torch

from mixlib import explorer, models
from mixlib.datasets import Interactions, load


@pytest.fixture(scope="module")
def interactions():
    found = load("synthetic")
    titles = np.array([f"film {i} </script><b>" for i in range(found.n_items + 1)])
    return Interactions(found.users, found.items, found.timestamps, titles=titles)


@pytest.fixture(scope="module")
def model(interactions):
    torch.manual_seed(0)
    return models.build("mixture_lstm", interactions.n_items, dim=8, components=3)


@pytest.fixture(scope="module")
def made(model, interactions):
    return explorer.extract(model, interactions)


def test_a_corner_holds_items_of_one_cluster_and_corners_differ():
    """Synthetic users choose from the clusters of their tastes, so items that are chosen together are those of a few clusters."""
    interactions = load("synthetic:tastes=1,skew=0.2")
    groups = explorer.corners(interactions)
    assert groups.shape == (explorer.CORNERS, explorer.EACH) and len(np.unique(groups)) == groups.size
    chosen = np.zeros((interactions.n_users, interactions.n_items + 1), bool)
    chosen[interactions.users, interactions.items] = True

    def together(a, b):
        return np.mean(
            [(chosen[:, i] & chosen[:, j]).sum() / np.sqrt(chosen[:, i].sum() * chosen[:, j].sum()) for i in a for j in b if i != j]
        )

    within = min(together(group, group) for group in groups)
    between = max(together(one, other) for k, one in enumerate(groups) for other in groups[:k])
    assert within > 2 * between


def test_no_history_of_the_data_is_shown(interactions):
    """Not even half a viewer's items stand one after the other in the history of any user."""
    half = explorer.EACH
    order = np.lexsort((interactions.timestamps, interactions.users))
    lines = {tuple(row) for row in np.lib.stride_tricks.sliding_window_view(interactions.items[order], half)}
    shown = [tuple(items[start : start + half]) for _, items in explorer.viewers(interactions) for start in range(half + 1)]
    assert len(shown) == 12 * 7 and not lines & set(shown)


def test_weights_are_shares_and_no_taste_recommends_what_was_seen(made):
    assert len(made["viewers"]) == explorer.CORNERS * (explorer.CORNERS - 1)
    for viewer in made["viewers"]:
        weights, best = np.array(viewer["weights"]), np.array(viewer["best"])
        assert weights.shape == (2 * explorer.EACH + 1, 3) and best.shape == (*weights.shape, explorer.TOP)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=0.002)
        assert all(not set(viewer["items"][:t]) & set(best[t].ravel()) for t in range(len(best)))
        assert max(viewer["items"]) < len(made["titles"]) > best.max()


def test_the_first_step_is_what_the_model_says_of_nobody(interactions, made):
    """Before the first item every viewer is the same to the model."""
    first = [(viewer["weights"][0], viewer["best"][0]) for viewer in made["viewers"]]
    assert all(step == first[0] for step in first)
    assert any(viewer["weights"][-1] != first[0][0] for viewer in made["viewers"])


def test_every_step_is_what_the_model_says_after_as_many_items(model, interactions, made):
    for viewer, (name, items) in zip(made["viewers"], explorer.viewers(interactions), strict=True):
        assert viewer["name"] == name and len(viewer["weights"]) == len(items) + 1
        for t in range(1, len(items) + 1):
            share, best = explorer.tastes_at(model, torch.as_tensor(items[None, :t]), explorer.TOP)
            assert viewer["weights"][t] == pytest.approx(share[0].tolist(), abs=1e-3)
            assert [[made["titles"][item] for item in taste] for taste in viewer["best"][t]] == [
                interactions.titles_of(taste.numpy()) for taste in best[0]
            ]


def test_hostile_titles_stay_text(made):
    page = explorer.html({"hostile": made | {"title": "<img src=x>"}})
    inner = re.search(r'id="explorer-data">(.*?)</script>', page, re.DOTALL)
    assert inner and json.loads(inner[1])["hostile"]["titles"] == made["titles"]
    assert page.count("</script>") == 2 and "<img" not in page and "<b>" not in page


def test_a_table_of_tastes_needs_a_model_that_reads_windows(interactions):
    model = models.build("embedding_mixture", interactions.n_items, interactions.n_users, dim=4, components=2)
    with pytest.raises(ValueError, match=r"embedding_mixture reads no windows, .* give a sequence mixture"):
        explorer.taste_table(model, [np.arange(1, 5)], interactions)


def test_a_small_catalogue_has_fewer_viewers():
    users = np.repeat(np.arange(5), 4)
    interactions = Interactions(users, np.tile(np.arange(1, 5), 5))
    assert explorer.corners(interactions).shape == (0, explorer.EACH) and explorer.viewers(interactions) == []
    model = models.build("mixture_lstm", 4, dim=4, components=2)
    assert explorer.extract(model, interactions) == {"viewers": [], "titles": []}


@pytest.mark.parametrize("items, viewers", [(16, 0), (17, 2)])
def test_a_catalogue_that_leaves_too_few_new_items_has_no_viewers(items, viewers):
    users = np.repeat(np.arange(40), 6)
    interactions = Interactions(users, np.random.default_rng(0).integers(1, items + 1, len(users)), n_items=items)
    found = explorer.extract(models.build("mixture_lstm", items, dim=4, components=2), interactions)["viewers"]
    assert len(found) == viewers
    for viewer in found:
        assert np.isfinite(viewer["weights"]).all()
        assert not set(viewer["items"]) & set(np.ravel(viewer["best"][-1]))


def test_weights_and_best_items_are_those_of_their_definition():
    torch.manual_seed(1)
    model, windows = models.build("mixture_lstm", 150, dim=4, components=3), torch.tensor([[0, 0, 7], [3, 9, 20]])
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    shares, best = explorer.tastes_at(model, windows, 5)
    with torch.no_grad():
        (tastes, attention), scores = model.represent(windows), model.scores(windows)
        for i, window in enumerate(windows.tolist()):
            new = [item for item in range(1, 151) if item not in window]
            weight = (attention[i] @ model.item_vectors.T).softmax(dim=0)  # (m, n)
            hundred = sorted(new, key=scores[i].tolist().__getitem__)[-100:]
            assert torch.allclose(shares[i], weight[:, hundred].mean(dim=1))
            for worth, found in zip((weight * (tastes[i] @ model.item_vectors.T)).tolist(), best[i].tolist(), strict=True):
                assert found == sorted(new, key=worth.__getitem__, reverse=True)[:5]
