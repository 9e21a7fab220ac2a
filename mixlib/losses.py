"""Losses of a positive against sampled negatives.

positive: (...) scores of what the user chose; negatives: (k, ...) scores of k sampled items for each of them, k first. Every loss
returns (...), the loss of each positive; the caller averages over the real ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bpr(positive: Tensor, negatives: Tensor) -> Tensor:
    """1 - sigmoid(p - n), mean over the negatives, as printed in Kula (2018). Between 0 and 1."""
    return (1 - torch.sigmoid(positive - _negatives(positive, negatives))).mean(dim=0)


def log_bpr(positive: Tensor, negatives: Tensor) -> Tensor:
    """-log sigmoid(p - n), mean over the negatives: the original of Rendle et al. (2009). At least 0."""
    return -logsigmoid(positive - _negatives(positive, negatives)).mean(dim=0)


def hinge(positive: Tensor, negatives: Tensor) -> Tensor:
    """|1 - p + n|+, mean over the negatives. At least 0."""
    return (1 - positive + _negatives(positive, negatives)).clamp(min=0).mean(dim=0)


def adaptive_hinge(positive: Tensor, negatives: Tensor, hardest: bool = False) -> Tensor:
    """Hinge loss against the first negative that violates the margin; 0 where none of the k does (Kula 2018, after WARP).

    hardest: against the worst of the k instead, as in the code behind the published numbers.
    """
    pick = worst if hardest else first_violator
    return hinge(positive, negatives.gather(0, pick(positive, _negatives(positive, negatives))))


def first_violator(positive: Tensor, negatives: Tensor) -> Tensor:
    """Index (1, ...) of the first negative within the margin of 1 below the positive or above it; 0 where there is none."""
    return (1 - positive + negatives > 0).to(torch.uint8).argmax(dim=0, keepdim=True)  # argmax gives the first of equal values


def worst(positive: Tensor, negatives: Tensor) -> Tensor:
    """Index (1, ...) of the negative that is scored highest."""
    return negatives.argmax(dim=0, keepdim=True)


def _negatives(positive: Tensor, negatives: Tensor) -> Tensor:
    if negatives.shape[1:] != positive.shape or negatives.ndim != positive.ndim + 1 or not len(negatives):
        raise ValueError(f"negatives must have the shape (k, *{tuple(positive.shape)}), k >= 1, not {tuple(negatives.shape)}.")
    return negatives


@dataclass(frozen=True)
class Loss:
    """A loss with the negatives k that it is used with. `pick`, if any, says which of them counts: no other gets a gradient."""

    function: Callable[[Tensor, Tensor], Tensor]
    negatives: int = 1
    pick: Callable[[Tensor, Tensor], Tensor] | None = None


LOSSES = {
    "bpr": Loss(bpr),
    "log_bpr": Loss(log_bpr),
    "hinge": Loss(hinge),
    "adaptive_hinge": Loss(hinge, 5, first_violator),
    "hardest": Loss(hinge, 5, worst),
}
