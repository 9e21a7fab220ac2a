"""The taste explorer: made-up viewers, and what a trained mixture makes of them as items arrive. No person's history is in it."""

import json
from collections.abc import Iterable
from itertools import combinations

import numpy as np
import pandas as pd
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
def tastes_at(model: TasteModel, windows: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    """After windows (b, t): the mean weight (b, m) that each taste gets over the 100 best new items, and its own best new ones (b, m, top).

    The weight of taste k on item j is its share of softmax(A e_j); a taste's best items maximise weight times liking.
    """
    tastes, attention = model.represent(windows)  # (b, m, d) twice
    vectors = model.item_vectors
    known = torch.zeros(len(windows), len(vectors), dtype=torch.bool).scatter_(1, windows, True)
    known[:, 0] = True
    scores = score(tastes, attention, vectors, model.item_biases).masked_fill(known, -torch.inf)  # (b, n)
    new = max(1, len(vectors) - int(known.sum(dim=1).max()))  # a window may hold every item
    best = scores.topk(min(100, new)).indices.unsqueeze(1)
    liking = tastes @ vectors.T  # (b, m, n)
    weight = torch.ones_like(liking) if attention is None else (attention @ vectors.T).softmax(dim=1)
    share = weight.gather(2, best.expand(-1, liking.shape[1], -1)).mean(dim=2)
    return share, (weight * liking).masked_fill(known.unsqueeze(1), -torch.inf).topk(min(top, new), dim=2).indices


def taste_table(model: TasteModel, windows: Iterable[np.ndarray], interactions: Interactions) -> pd.DataFrame:
    """For each of the windows (t,): the user's last six items, oldest first, then the tastes as `tastes_at` gives them, with four items
    each, the heaviest first. Raises ValueError for a model that reads no windows.
    """
    if not model.sequential:
        raise ValueError(f"{model.kind} reads no windows, whose tastes this table shows: give a sequence mixture, such as mixture_lstm.")
    rows: list[dict] = []
    for number, window in enumerate(windows, 1):
        history = "; ".join(interactions.titles_of(window[window != 0][-6:]))
        rows.append({"user": number, "what": "last items", "weight": "", "titles": history})
        share, own = (found[0] for found in tastes_at(model, torch.as_tensor(window[None]), 4))
        rows += [{"user": number, "what": f"taste {k + 1}", "weight": f"{share[k]:.2f}",
                  "titles": "; ".join(interactions.titles_of(own[k].numpy()))} for k in torch.argsort(-share).tolist()]  # fmt: skip
    return pd.DataFrame(rows, columns=["user", "what", "weight", "titles"])


def extract(model: TasteModel, interactions: Interactions) -> dict:
    """What the page shows of a sequence mixture, as JSON-like values.

    For each viewer: its name, its items, and for each step t = 0, 1, ... what `tastes_at` gives after t items: `weights` (t, m) and `best`
    (t, m, TOP). Items are places in `titles`.
    """
    shown: list[dict] = []
    used: set[int] = set()
    for name, items in viewers(interactions):
        steps = len(items) + 1
        windows = np.zeros((steps, len(items)), np.int64)  # padded on the left
        for t in range(1, steps):
            windows[t, -t:] = items[:t]
        share, own = tastes_at(model, torch.as_tensor(windows), TOP)
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
