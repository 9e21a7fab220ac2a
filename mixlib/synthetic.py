"""Users with a known number of tastes: the embedded data set, and a process whose truth is known.

Items form clusters. Every user likes `tastes` of them, stays in one for a while, then switches to another; within a cluster
popular items come first, and no item comes twice before the cluster is used up. So an honest model can at best know which
clusters a user likes, which of them is on now, and what is popular there.
"""

import inspect
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from mixlib.datasets import Interactions
from mixlib.names import choose

GENRES = ["jazz", "opera", "blues", "folk", "rock", "soul", "punk", "techno", "reggae", "metal", "swing", "disco", "house", "funk"]
GENRES += ["gospel", "salsa", "tango", "ska", "grunge", "bossa", "choral", "ambient", "country", "samba", "fado", "polka", "waltz"]
GENRES += ["klezmer", "dub", "trance"]

SHAPES = {  # counts and 95th/50th popularity ratio as in the paper's three data sets, for tests of scale
    "movielens-10m": {"users": 69_878, "items": 10_677, "length": 143.1, "skew": 2.55, "clusters": 30},
    "goodbooks-10k": {"users": 53_424, "items": 10_000, "length": 111.9, "skew": 2.0, "clusters": 60},
    "amazon": {"users": 100_084, "items": 113_996, "length": 40.0, "skew": 1.07, "clusters": 120},
}


FACTORIAL = tuple(  # when does a mixture help? True tastes, stickiness, popularity skew, with and without near-twin items
    f"synthetic:users=2000,tastes={tastes},stickiness={stickiness},skew={skew},twins={twins}"
    for tastes, stickiness, skew, twins in product((1, 2, 4, 8), (0.5, 0.9), (0.4, 1.2), (0.0, 0.5))
)


def generate(
    users: int = 800,
    items: int = 600,
    tastes: int = 3,
    stickiness: float = 0.8,
    skew: float = 0.8,
    clusters: int = 30,
    length: float = 50.0,
    seed: int = 0,
    twins: float = 0.0,
) -> Interactions:
    """Draw interactions of users who have exactly `tastes` tastes.

    stickiness: chance to stay in the same taste from one interaction to the next; skew: exponent of the popularity of items
    within a cluster (0 is flat, 1 is Zipf's law); length: mean number of interactions of a user (log-normal; at
    least 10 each, so that the mean of short histories is a little higher).
    twins: chance that a chosen item is followed at once by its twin, as when one review is copied to every edition of a product; if it
    is above 0, half of the items are twins of the other half, and either may come first.
    The timestamps are positions. Raises ValueError on impossible parameters.
    """
    if not (1 <= tastes <= clusters <= items):
        raise ValueError(f"1 <= tastes <= clusters <= items must hold, not {tastes}, {clusters}, {items}.")
    if users < 1 or seed < 0 or not 0 <= stickiness <= 1 or not 0 <= skew < np.inf or not 10 <= length <= 1e6:
        raise ValueError(
            "users must be at least 1, seed and skew at least 0, stickiness between 0 and 1, length between 10 and a million, all finite."
        )
    if not 0 <= twins <= 1 or (twins and items % (2 * clusters)):
        raise ValueError(f"twins must be between 0 and 1, and then items a multiple of {2 * clusters}, not {twins} with {items} items.")
    random = np.random.default_rng([seed, users, items, tastes])
    catalogue, items = items, items // 2 if twins else items
    lengths = np.maximum(10, random.lognormal(np.log(length) - 0.125, 0.5, users).round()).astype(np.int64)
    size = -(-items // clusters)  # items in a cluster, the last ones may lack one
    weight = -skew * np.log(np.arange(1, size + 1))  # log popularity of the ranks within a cluster
    chunks = []
    for start in range(0, users, 4096):  # bounds memory: c users at a time
        count = lengths[start : start + 4096]
        chosen = random.random((len(count), clusters)).argpartition(tastes - 1, axis=1)[:, :tastes]  # (c, tastes) clusters
        who = np.repeat(np.arange(len(count)), count)
        position = np.arange(len(who)) - np.repeat(count.cumsum() - count, count)
        switch = (random.random(len(who)) > stickiness) | (position == 0)
        jump = random.integers(1, tastes, len(who)) if tastes > 1 else np.zeros(len(who), np.int64)
        jump = np.where(position == 0, random.integers(0, tastes, len(who)), np.where(switch, jump, 0))
        total = jump.cumsum()
        before = np.repeat((total - jump)[position == 0], count)
        taste = (total - before) % tastes  # a switch always goes to another taste
        own = (items - 1 - chosen) // clusters + 1  # (c, tastes) items in each of them
        noisy = weight + random.gumbel(size=(len(count), tastes, size))
        order = np.argsort(-np.where(np.arange(size) < own[..., None], noisy, -np.inf), axis=2)  # Plackett-Luce by popularity
        visit = _running_count(who * tastes + taste)
        rank = order[who, taste, visit % own[who, taste]]
        item = rank * clusters + chosen[who, taste]  # cluster of an item: its number modulo `clusters`
        chunks.append((who + start, item + 1, position))
    who, item, position = (np.concatenate(column) for column in zip(*chunks, strict=True))
    if twins:
        who, item, position = _with_twins(who, item, items, twins, np.random.default_rng([seed, users, catalogue, tastes, 1]))
    titles = np.array(["", *(f"{_genre(i % clusters)} no. {i // clusters + 1}" for i in range(catalogue))], dtype=object)
    return Interactions(who, item, position, users, catalogue, "synthetic", titles, f"Synthetic, {tastes} taste{'s' * (tastes > 1)}",
                        max_length=50, min_length=10, licence="generated, free of any rights", citation="")  # fmt: skip


def _with_twins(who: np.ndarray, item: np.ndarray, half: int, chance: float, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Users, items and positions once editions are drawn and some are followed by the other: items 1..half have twins half + 1..2 half.

    Every user keeps as many interactions as before.
    """
    repeats = 1 + (random.random(len(who)) < chance)
    edition = random.integers(0, 2, len(who))
    copied = np.repeat(np.arange(len(who)), repeats)
    second = np.r_[False, copied[1:] == copied[:-1]]
    position = _running_count(who[copied])
    kept = position < np.bincount(who)[who[copied]]
    return who[copied][kept], (item[copied] + half * (edition[copied] ^ second))[kept], position[kept]


def with_copies(interactions: Interactions, share: float, seed: int = 0) -> Interactions:
    """The same choices, where a share of the items, drawn at random, has a second edition: whoever chose the first has both in a row.

    So it is where one review is copied to every edition of a product (Basaran, Ntoutsi and Zimek 2017). The second edition always comes
    right after the first, at the same time, and has an id above all others. Raises ValueError unless 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"copies must be a share of the items, above 0 and at most 1, not {share:g}.")
    n = interactions.n_items
    copied = np.sort(np.random.default_rng(seed).permutation(n)[: max(1, round(share * n))]) + 1
    edition = np.zeros(n + 1, np.int64)
    edition[copied] = n + 1 + np.arange(len(copied))
    rows = np.repeat(np.arange(len(interactions)), 1 + (edition[interactions.items] > 0))
    second = np.r_[False, rows[1:] == rows[:-1]]
    items = interactions.items[rows]
    titles, twice = interactions.titles, f"{100 * share:.3g}% of the items twice"
    return replace(
        interactions.take(rows), items=np.where(second, edition[items], items), n_items=n + len(copied),
        name=f"{interactions.name}:copies={share:g}", title=f"{interactions.title or interactions.name}, {twice}",
        titles=None if titles is None else np.r_[titles, [f"{title}, second edition" for title in titles[copied]]], item_ids=None,
        originals=n,
    )  # fmt: skip


def cluster_of(items: np.ndarray, clusters: int = 30) -> np.ndarray:
    """The cluster, 0..clusters-1, that an item of the generated data belongs to."""
    return (np.asarray(items) - 1) % clusters


def parameters(name: str) -> dict[str, Any]:
    """The parameters of `generate` that a name such as `synthetic:tastes=1,skew=0.5` gives. Raises ValueError on unknown ones."""
    known = {key: type(p.default) for key, p in inspect.signature(generate).parameters.items()}
    found: dict[str, Any] = {}
    _, colon, given = name.partition(":")
    for part in given.split(",") if colon else ():
        key, _, value = part.partition("=")
        kind = known[choose("parameter of synthetic called", key, known)]
        if key in found:
            raise ValueError(f"{name} gives {key} twice.")
        try:
            found[key] = kind(value)
        except ValueError:
            raise ValueError(f"{key} of synthetic must be {kind.__name__}, not {value!r}.") from None
    return found


def from_name(name: str) -> Interactions:
    """What `generate` draws for `synthetic` or `synthetic:tastes=1,skew=0.5`. Raises ValueError on unknown parameters."""
    made = generate(**parameters(name))
    object.__setattr__(made, "name", name)
    return made


def _genre(cluster: int) -> str:
    series, genre = divmod(cluster, len(GENRES))
    return GENRES[genre] + (f" {series + 1}" if series else "")


def _running_count(keys: np.ndarray) -> np.ndarray:
    """How often each key occurred before: [a, b, a, a] -> [0, 0, 1, 2]."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.arange(len(keys)) - np.repeat(starts, np.diff(np.r_[starts, len(keys)]))
    result = np.empty(len(keys), np.int64)
    result[order] = counts
    return result
