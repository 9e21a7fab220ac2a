"""Train, validation and test: interactions at random for factorization, users at random for sequences."""

from dataclasses import dataclass

import numpy as np

from mixlib.datasets import Interactions


@dataclass(frozen=True, eq=False)
class Sequences:
    """Windows of interactions: items (n, max_length), oldest first, padded with 0 on the left; users (n,)."""

    items: np.ndarray
    users: np.ndarray
    n_items: int
    n_users: int

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of the same kind: Interactions or Sequences."""

    train: Interactions | Sequences
    validation: Interactions | Sequences
    test: Interactions | Sequences


def random_split(interactions: Interactions, fractions=(0.8, 0.1, 0.1), seed: int = 0) -> Split:
    """Deal distinct (user, item) pairs at random; a repeated pair counts once, where it first occurs.

    fractions: of train, validation and test, summing to 1. Raises ValueError otherwise, and where the pairs are so few that a part with a
    share gets none. Source: Kula (2018), section 4.
    """
    first = np.sort(np.unique(interactions.pairs, return_index=True)[1])
    parts = _deal(len(first), fractions, seed)
    if any(share and not len(part) for share, part in zip(fractions, parts, strict=True)):
        raise ValueError(f"{len(first)} distinct interactions are too few to be dealt to train, validation and test: take more.")
    return Split(*(interactions.take(np.sort(first[part])) for part in parts))


def user_split(interactions: Interactions, fractions=(0.8, 0.1, 0.1), seed: int = 0) -> Split:
    """Deal users at random: all interactions of a user are in one part. Arguments as in `random_split`."""
    return Split(*_parts_by_user(interactions, fractions, seed))


def windows(interactions: Interactions, max_length: int, min_length: int, shuffle_ties: int | None = None) -> Sequences:
    """Cut every user's history, from the newest backwards, into windows of `max_length` that do not overlap.

    Windows shorter than `min_length` are dropped, other short ones padded with 0 on the left. Ties in time keep file order, or are
    shuffled with the seed `shuffle_ties`. Windows come by user, oldest first.
    Raises ValueError when the interactions have no order in time, or on lengths that make no sense.
    """
    if not interactions.ordered:
        raise ValueError(f"{interactions.name or 'this data set'} has no order in time: it can be factorized, but not cut into sequences.")
    if not 1 <= min_length <= max_length:
        raise ValueError(f"1 <= min_length <= max_length must hold, not {min_length} and {max_length}.")
    n = len(interactions)
    ties = np.arange(n) if shuffle_ties is None else np.random.default_rng(shuffle_ties).permutation(n)
    order = np.lexsort((ties, interactions.times, interactions.users))
    users, items = interactions.users[order], interactions.items[order]
    counts = np.bincount(users, minlength=interactions.n_users)
    age = np.repeat(counts.cumsum(), counts) - 1 - np.arange(n)  # 0 for a user's newest interaction
    window, column = age // max_length, max_length - 1 - age % max_length
    length = np.minimum(np.repeat(counts, counts) - window * max_length, max_length)
    kept = length >= min_length
    users, items, window, column = users[kept], items[kept], window[kept], column[kept]
    new = np.r_[True, (users[1:] != users[:-1]) | (window[1:] != window[:-1])] if len(users) else np.zeros(0, bool)
    cut = np.zeros((int(new.sum()), max_length), np.int64)
    cut[new.cumsum() - 1, column] = items
    return Sequences(cut, users[new], interactions.n_items, interactions.n_users)


def sequence_split(
    interactions: Interactions, max_length: int, min_length: int, fractions=(0.8, 0.1, 0.1), seed: int = 0, shuffle_ties: int | None = None
) -> Split:
    """The user split, each part cut into windows. Raises ValueError when a part is left without any window."""
    parts = _parts_by_user(interactions, fractions, seed)
    cut = Split(*(windows(part, max_length, min_length, shuffle_ties) for part in parts))
    for name in ("train", "validation", "test"):
        if not len(getattr(cut, name)):
            raise ValueError(
                f"no user in {name} has {min_length} interactions or more: "
                "lower min_length (in dataset.toml), or take a data set with more users and longer histories."
            )
    return cut


def _parts_by_user(interactions: Interactions, fractions, seed: int) -> list[Interactions]:
    return [interactions.take(np.flatnonzero(np.isin(interactions.users, users))) for users in _deal(interactions.n_users, fractions, seed)]


def _deal(n: int, fractions, seed: int) -> list[np.ndarray]:
    """Indices 0..n-1 in random order, cut into parts of the given fractions."""
    if len(fractions) != 3 or not (min(fractions) >= 0 and abs(sum(fractions) - 1) <= 1e-9):  # so that NaN is refused
        raise ValueError(f"fractions must be three shares that sum to 1, not {tuple(fractions)}.")
    ends = np.rint(np.cumsum(fractions)[:2] * n).astype(int)
    return np.split(np.random.default_rng(seed).permutation(n), ends)
