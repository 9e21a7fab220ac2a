"""What the notebooks show of data, splits and fitted models: small tables, one function each."""

import itertools
import re
import sys
import warnings
from base64 import b64encode
from contextlib import suppress
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from scipy import sparse

from mixlib import datasets, evaluation, experiments, plans, splits
from mixlib.datasets import Interactions
from mixlib.models import SequenceModel
from mixlib.names import choose, in_markdown
from mixlib.sources import COUNTS, SOURCES
from mixlib.splits import Sequences, Split
from mixlib.studies import PROFILES

if TYPE_CHECKING:
    from IPython.display import HTML


def start(dataset: str, profile: str, seed: int) -> Interactions:
    """Check a notebook's parameters and load its data set. Raises ValueError that says which names and types exist.

    Sets torch to one thread: small batches lose by sharing, and stored outputs then do not depend on the number of cores. Tables show as
    `plain_tables` says, and a warning of tqdm about a progress bar that no notebook has is silenced.
    """
    choose("profile", profile, PROFILES)
    for name, value, kind in (("dataset", dataset, str), ("seed", seed, int)):
        if type(value) is not kind:
            raise ValueError(f"{name} must be {kind.__name__}, not {value!r}.")
    torch.set_num_threads(1)
    plain_tables()
    warnings.filterwarnings("ignore", "IProgress not found")  # of a progress bar that is never shown
    return datasets.load(dataset)


def plain_tables() -> None:
    """From now on the tables of a notebook show long texts whole, and no numbers of rows; see also `_refuse_other_parameters`."""
    pd.set_option("display.max_colwidth", None)
    if "IPython" in sys.modules and (shell := sys.modules["IPython"].get_ipython()):
        shell.display_formatter.formatters["text/html"].for_type(pd.DataFrame, _as_html)
        _refuse_other_parameters(shell.user_ns["In"])


def _refuse_other_parameters(cells: list[str]) -> None:
    """Raise ValueError where papermill was given a parameter that the notebook does not have, of which papermill itself only warns."""
    for defaults, given in itertools.pairwise(cells):  # papermill runs a cell of its own behind that of the defaults
        for name in re.findall(r"^(\w+) = ", given, re.MULTILINE) if given.startswith("# Parameters\n") else []:
            choose("parameter", name, re.findall(r"^(\w+) = ", defaults, re.MULTILINE))


def _as_html(table: pd.DataFrame) -> str:
    whole = {name: "{:,}".format for name in table if table[name].dtype.kind == "i"}
    return table.to_html(index=False, formatters=whole)


def frequencies(values: np.ndarray, value: str, number: str) -> pd.DataFrame:
    """How often each of the values (n,) occurs, rising: what a histogram, or a curve over ranks, is drawn from."""
    return pd.DataFrame(dict(zip((value, number), np.unique(values, return_counts=True), strict=True)))


def csv_links(**tables: pd.DataFrame) -> "HTML":
    """Links to the numbers behind a figure, by name: CSV files inside of the page, so that they need no other file and no network."""
    from IPython.display import HTML  # the book's, not needed by a study

    files = {f"{name.replace('_', '-')}.csv": b64encode(table.to_csv(index=False).encode()).decode() for name, table in tables.items()}
    links = (f'<a download="{name}" href="data:text/csv;base64,{text}">{name}</a>' for name, text in files.items())
    return HTML(f"<p>The numbers: {', '.join(links)}.</p>")


def facts(interactions: Interactions) -> dict[str, float]:
    """Counts, density, popularity ratio, lengths and ties of a data set."""
    lengths = np.bincount(interactions.users, minlength=interactions.n_users)
    return {
        "interactions": len(interactions),
        "users": interactions.n_users,
        "items": interactions.n_items,
        "density": interactions.density,
        "popularity ratio (95th / 50th)": interactions.popularity_ratio,
        "median length of a history": float(np.median(lengths)),
        "longest history": int(lengths.max()),
        "repeated pairs": len(interactions) - len(np.unique(interactions.pairs)),
        "tied neighbours in time": tied_share(interactions),
    }


def unfit(interactions: Interactions, family: str) -> tuple[str, ...]:
    """Sentences on users whom a study of the family leaves out, or of whom it knows nothing where those are one in twenty or more; and on
    windows that end on an item they hold, where those are one in five or more.
    """
    if family == "sequences":
        counts = np.bincount(interactions.users)
        short, least = int(((counts > 0) & (counts < interactions.min_length)).sum()), interactions.min_length
        said = f"{short:,} of {(counts > 0).sum():,} users are left out: they have fewer than {least} interactions (min_length)."
        held = repeats(splits.windows(interactions, interactions.max_length, least))
        again = f"{held:.0%} of the windows end on an item that they hold already, where whoever repeats what was seen is ranked high."
        return (*([said] if short else []), *([again] if held >= 0.2 else []))
    split = experiments.split_of(plans.define(family, plans.Subject.of(interactions), {}, {}), interactions)
    tested = np.unique(split.test.users)
    unknown = int((~np.isin(tested, split.train.users)).sum())
    said = f"{unknown:,} of {len(tested):,} users of the test part have nothing in train: no model can know them."
    return (said,) if unknown >= len(tested) / 20 else ()


def counted(interactions: Interactions) -> dict:
    """What is kept of a data set for the table of all data sets: aggregates, no row of it."""
    return {"title": interactions.title or interactions.name, "interactions": len(interactions), "users": interactions.n_users,
            "items": interactions.n_items, "density": interactions.density, "ratio": interactions.popularity_ratio,
            "ordered": interactions.ordered, "fingerprint": interactions.fingerprint, "notes": list(interactions.notes),
            "best_mrr": best_mrr(interactions),
            "near_twins": {what: None if np.isnan(share) else share for what, share in near_twins(interactions).items()}}  # fmt: skip


def best_mrr(interactions: Interactions) -> float | None:
    """The MRR of factorization if each user's n test items had the ranks 1 to n: (1 + 1/2 + ... + 1/n) / n, averaged over users; None of
    data that are too few to be split.
    """
    with suppress(ValueError):
        tested = np.bincount(splits.random_split(interactions).test.users)
        counts = tested[tested > 0]
        return float((np.cumsum(1 / np.arange(1, counts.max() + 1))[counts - 1] / counts).mean())
    return None


def data_sets(kept: dict[str, dict]) -> pd.DataFrame:
    """Counts as published and as found here, by `counted`, for every known data set and every other one that was counted."""
    rows = []
    for name in [*SOURCES, *sorted(set(kept) - set(SOURCES))]:
        published = SOURCES[name].title if name in SOURCES else ""
        if published:
            rows.append([published, "published", *_cells(COUNTS[name]), ""])
        own = in_markdown(kept[name]["title"]) if name in kept else ""
        best = kept.get(name, {}).get("best_mrr")
        found = [*_cells(kept[name]), "" if best is None else f"{best:.2f}"] if name in kept else ["not counted yet"] + [""] * 5
        rows.append([own if own != published else "", "this book", *found])
    return pd.DataFrame(rows, columns=["data set", "source", "interactions", "users", "items", "density", "95th / 50th", "best MRR"])


def _cells(found: dict) -> list[str]:
    forms = {"interactions": ",", "users": ",", "items": ",", "density": ".4f", "ratio": ".4g"}
    return [f"{found[key]:{form}}" if key in found else "not printed" for key, form in forms.items()]


def tied_share(interactions: Interactions) -> float:
    """Share of a user's consecutive interactions that carry the same timestamp; NaN where times are missing or mere positions."""
    if interactions.timestamps is None:
        return float("nan")
    order = np.lexsort((interactions.timestamps, interactions.users))
    users, times = interactions.users[order], interactions.timestamps[order]
    same = users[1:] == users[:-1]
    steps = np.diff(times)[same]
    return float("nan") if (steps == 1).all() else float((steps == 0).mean())


def shown(value: float, form: str = ",.4g") -> str:
    """A number as a reader sees it: `unknown` for NaN, whole numbers whole."""
    return "unknown" if np.isnan(value) else f"{value:,}" if isinstance(value, int) else f"{value:{form}}"


def twin_pairs(interactions: Interactions, jaccard: float = 0.5, users: int = 5) -> np.ndarray:
    """Pairs (p,) of items that mostly share their users, each one way and the other, as numbers `one * (n_items + 1) + other`.

    Two items are near-twins when each has at least `users` users, and more than the share `jaccard` of the users of either have both.
    """
    chosen = sparse.csr_matrix((np.ones(len(interactions), np.int32), (interactions.users, interactions.items)))
    chosen.data[:] = 1  # repeated pairs were added up
    number, items = np.asarray(chosen.sum(axis=0)).ravel(), chosen.T.tocsr()
    found = []
    for first in range(0, items.shape[0], 512):  # a long history makes a pair of every two of its items
        together = (items[first : first + 512] @ chosen).tocoo()
        one, other, both = together.row.astype(np.int64) + first, together.col, together.data
        near = (one != other) & (both > jaccard * (number[one] + number[other] - both)) & (np.minimum(number[one], number[other]) >= users)
        found.append(one[near] * (interactions.n_items + 1) + other[near])
    return np.concatenate(found)


def near_twins(interactions: Interactions, jaccard: float = 0.5, users: int = 5) -> dict[str, float]:
    """How much of a data set looks like copies: items in `twin_pairs`, and how often those come in a row.

    The last value is what the second would be, had everybody's interactions come in random order. NaN where nobody has two.
    """
    pairs = twin_pairs(interactions, jaccard, users)

    def in_a_row(order: np.ndarray) -> float:
        who, items = interactions.users[order], interactions.items[order]
        same = who[1:] == who[:-1]
        twins = np.isin(items[:-1] * (interactions.n_items + 1) + items[1:], pairs)[same]
        return float(twins.mean()) if len(twins) else float("nan")

    by_time = np.lexsort((interactions.times, interactions.users))
    shuffled = np.lexsort((np.random.default_rng(0).permutation(len(interactions)), interactions.users))
    return {
        "items with a near-twin": len(np.unique(pairs // (interactions.n_items + 1))) / interactions.n_items,
        "consecutive pairs that are near-twins": in_a_row(by_time) if interactions.ordered else float("nan"),
        "the same in random order": in_a_row(shuffled),
    }


def most_popular(interactions: Interactions, number: int = 8) -> pd.DataFrame:
    """The items with the most interactions, by title."""
    top = np.argsort(-interactions.popularity, kind="stable")[:number] + 1
    return pd.DataFrame({"title": interactions.titles_of(top), "interactions": interactions.popularity[top - 1]})


def sizes(split: Split) -> pd.DataFrame:
    """Interactions, users, items of each part, and the share of its interactions whose user or item never occurs in train."""
    rows = []
    parts = _parts(split)
    seen_users, seen_items = parts["train"]
    for name, (users, items) in parts.items():
        rows.append({"part": name, "interactions": len(items), "users": len(np.unique(users)), "items": len(np.unique(items)),
                     "share of unseen users": f"{1 - np.isin(users, seen_users).mean():.2%}",
                     "share of unseen items": f"{1 - np.isin(items, seen_items).mean():.2%}"})  # fmt: skip
    return pd.DataFrame(rows)


def _parts(split: Split) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Users and items (n,) of every part, by its name."""
    return {name: _columns(getattr(split, name)) for name in ("train", "validation", "test")}


def _columns(part: Interactions | Sequences) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(part, Interactions):
        return part.users, part.items
    real = part.items != 0
    return np.repeat(part.users, real.sum(axis=1)), part.items[real]


def leaks(split: Split) -> pd.DataFrame:
    """How many (user, item) pairs, and users, two parts of a split have in common."""
    rows = []
    for (one, a), (other, b) in itertools.combinations(_parts(split).items(), 2):
        n = split.train.n_items + 1
        rows.append({"parts": f"{one} and {other}", "shared pairs": len(np.intersect1d(a[0] * n + a[1], b[0] * n + b[1])),
                     "shared users": len(np.intersect1d(a[0], b[0]))})  # fmt: skip
    return pd.DataFrame(rows)


def window_facts(sequences: Sequences) -> dict[str, float]:
    """Windows, their users, how many targets are not the user's last interaction, the share that repeat an item of their window, and that
    of padding.
    """
    last = len(np.unique(sequences.users))
    return {"windows": len(sequences), "users": last, "targets before the user's last item": len(sequences) - last,
            "targets that repeat an item": repeats(sequences), "padding": float((sequences.items == 0).mean())}  # fmt: skip


def repeating(sequences: Sequences) -> np.ndarray:
    """Which windows (n,) have their last item, the target, in them before."""
    return (sequences.items[:, :-1] == sequences.items[:, -1:]).any(axis=1)


def repeats(sequences: Sequences) -> float:
    """The share of windows whose last item, the target, stands in them before."""
    return float(repeating(sequences).mean()) if len(sequences) else 0.0


def own_positives(interactions: Interactions) -> float:
    """Chance that an item drawn uniformly as a negative for a random interaction is one of that user's own items."""
    pairs = np.unique(interactions.pairs)
    owned = np.bincount(pairs // (interactions.n_items + 1), minlength=interactions.n_users)
    return float(owned[interactions.users].mean() / interactions.n_items)


def constant_model(n_items: int) -> pd.DataFrame:
    """Reciprocal rank that a model with the same score for all items gets, by the rule for ties."""
    scores, target = torch.zeros(1, n_items), torch.tensor([0])
    average = float(evaluation.target_ranks(scores, target))
    return pd.DataFrame({"rule for ties": ["average rank", "best rank"], "rank": [average, 1.0], "reciprocal rank": [1 / average, 1.0]})


@torch.inference_mode()
def padding_effect(model: SequenceModel, sequences: Sequences) -> dict[str, float | int]:
    """What running a trained LSTM over left padding does: change of its final state, and of MRR, on the windows that have padding."""
    padded, through = (sequences.items == 0).any(axis=1), copy(model)  # of the same parameters
    through.over_padding = True
    if not padded.any():
        return {"padded windows": 0}
    windows = replace(sequences, items=sequences.items[padded], users=sequences.users[padded])
    context = torch.as_tensor(windows.items[:, :-1])
    clean, reached = (one.represent(context)[0].flatten(1) for one in (model, through))  # (b, d) the only taste is the state
    moved = (reached - clean).norm(dim=1) / clean.norm(dim=1)
    skipped, run_over = (float(evaluation.sequence_reciprocal_ranks(one, windows).mean()) for one in (model, through))
    return {"padded windows": len(windows), "relative change of the state": float(moved.mean()), "MRR, padding skipped": skipped,
            "MRR, padding run over": run_over}  # fmt: skip


def cut(interactions: Interactions, seed: int) -> tuple[Split | None, str]:
    """The split into windows; or None, and why there is none."""
    if not interactions.ordered:
        return None, "This data set has no order in time: there are no sequences to cut."
    try:
        return splits.sequence_split(interactions, interactions.max_length, interactions.min_length, seed=seed), ""
    except ValueError as error:
        return None, f"There are no sequences to cut: {error}"
