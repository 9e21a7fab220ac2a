"""The taste explorer: made-up viewers, and what a trained Mixture-LSTM makes of them as items arrive. No person's history is in it."""

import json
from itertools import combinations

import numpy as np
import torch
from scipy import sparse

from mixlib.datasets import Interactions
from mixlib.models import TasteModel, score

CORNERS, EACH, POPULAR = 4, 6, 200  # kinds of items, items of each kind in a history, and how many popular items they come from
TOP = 5


def corners(interactions: Interactions) -> np.ndarray:
    """Items (CORNERS, EACH) for histories: popular ones that few people choose together, each with those that are chosen along with it.

    From the cosine between items over users, among the POPULAR most chosen items; fewer rows where the catalogue is small.
    """
    chosen = sparse.csr_matrix((np.ones(len(interactions), np.float32), (interactions.users, interactions.items)))
    chosen.data[:] = 1  # an item that comes twice
    counts = np.asarray(chosen.sum(axis=0)).ravel()
    popular = np.argsort(-counts, kind="stable")[:POPULAR]
    popular = popular[counts[popular] > 0]
    some = chosen[:, popular]
    cosine = (some.T @ some).toarray() / np.sqrt(np.outer(counts[popular], counts[popular]))
    free, found = np.ones(len(popular), bool), []
    nearest = np.zeros(len(popular))  # to the items that are taken
    for _ in range(min(CORNERS, len(popular) // EACH)):
        first = int(np.where(free, nearest, np.inf).argmin())  # ties: the most popular
        row = np.argsort(-np.where(free, cosine[first] + (np.arange(len(popular)) == first), -np.inf), kind="stable")[:EACH]
        free[row] = False
        nearest = np.maximum(nearest, cosine[row].max(axis=0))
        found.append(popular[row])
    return np.array(found, dtype=np.int64).reshape(-1, EACH)


def viewers(interactions: Interactions) -> list[tuple[str, np.ndarray]]:
    """Names and histories (2 EACH,) of the made-up viewers: for every two kinds of items, one after the other, and by turns.

    None where fewer than TOP items would be left to show.
    """
    found = []
    for one, other in combinations(corners(interactions), 2) if interactions.n_items >= 2 * EACH + TOP else ():
        first, second = interactions.titles_of(np.array([one[0], other[0]]))
        found.append((f"{first}, then {second}", np.r_[one, other]))
        found.append((f"{first} and {second} by turns", np.c_[one, other].ravel()))
    return found


@torch.inference_mode()
def extract(model: TasteModel, interactions: Interactions) -> dict:
    """What the page shows of a sequence mixture, as JSON-like values.

    For each viewer: its name, its items, and for each step t = 0, 1, ... the tastes after t items: `weights` (t, m), the mean share of
    softmax(A e) over the 100 best new items, and `best` (t, m, TOP), the new items with the highest weight times liking. Items are
    places in `titles`.
    """
    shown: list[dict] = []
    used: set[int] = set()
    for name, items in viewers(interactions):
        steps = len(items) + 1
        windows = np.zeros((steps, len(items)), np.int64)  # padded on the left
        for t in range(1, steps):
            windows[t, -t:] = items[:t]
        tastes, attention = model.represent(torch.as_tensor(windows))  # (t, m, d) twice
        assert attention is not None
        vectors = model.item_vectors
        known = torch.zeros(steps, len(vectors), dtype=torch.bool).scatter_(1, torch.as_tensor(windows), True)
        known[:, 0] = True
        scores = score(tastes, attention, vectors, model.item_biases).masked_fill(known, -torch.inf)
        best = scores.topk(min(100, model.n_items - len(items))).indices  # (t, 100)
        weight = (attention @ vectors.T).softmax(dim=1)  # (t, m, n)
        m = model.components
        share = weight.gather(2, best.unsqueeze(1).expand(-1, m, -1)).mean(dim=2)  # (t, m)
        own = (weight * (tastes @ vectors.T)).masked_fill(known.unsqueeze(1), -torch.inf).topk(TOP, dim=2).indices
        used |= {*items.tolist(), *own.flatten().tolist()}
        weights = [[round(w, 3) for w in row] for row in share.tolist()]
        shown.append({"name": name, "items": items.tolist(), "weights": weights, "best": own.tolist()})
    order = sorted(used)
    place = {item: number for number, item in enumerate(order)}
    for viewer in shown:
        viewer["items"] = [place[item] for item in viewer["items"]]
        viewer["best"] = [[[place[item] for item in taste] for taste in step] for step in viewer["best"]]
    return {"viewers": shown, "titles": interactions.titles_of(np.array(order, dtype=np.int64))}


def html(extracts: dict[str, dict]) -> str:
    """The page's inner part from extracts by the name of their data set. The script of the page draws it, with titles as text alone."""
    data = json.dumps(extracts, ensure_ascii=True).replace("<", "\\u003c").replace("&", "\\u0026")
    return (
        '<div id="explorer"><noscript>This page needs JavaScript; the notebooks show some of it without.</noscript></div>\n'
        f'<script type="application/json" id="explorer-data">{data}</script>\n<script src="_static/explorer.js" defer></script>\n'
    )
