"""How many tastes a mixture really uses, for every user or window."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mixlib.datasets import Interactions
from mixlib.models import TasteModel
from mixlib.splits import Sequences, Split

CHUNK_BYTES = 16 * 2**20  # of gates held at once, in bytes: two to three times faster than with chunks that outgrow the caches


def tastes(model: TasteModel, split: Split) -> dict[str, np.ndarray]:
    """Diagnostics (n,) of a mixture for each test window, or for each user with test items in order of id. The gate is softmax(A e).

    gate_entropy: of the gate on an item, in nats, mean over all items: 0 when every item belongs to one taste, log m when to all alike.
    effective_tastes: exp of the entropy of the gate's mean over the user's own history (the context of a window, the train items of a
    user; all items for a user who has none): between 1 and m. dominant_taste: the taste, 0..m-1, with the largest such mean;
    dominant_share: that mean. cosine: mean over the pairs of a user's tastes.
    Raises ValueError on a model with a single taste, which has no gate.
    """
    if model.components < 2:
        raise ValueError(f"{model.kind} has one taste and no gate: diagnose a mixture.")
    found = [_of_chunk(model, *chunk) for chunk in _chunks(model, split)]
    return {name: np.concatenate([part[name].cpu().numpy() for part in found]) for name in found[0]}


def summary(found: dict[str, np.ndarray], components: int) -> dict:
    """Means over windows or users of what `tastes` gives, and `users_by_taste`: the share of them that each taste (m) dominates."""
    means = {name: float(values.mean()) for name, values in found.items() if name != "dominant_taste"}
    counts = np.bincount(found["dominant_taste"], minlength=components)
    return means | {"users_by_taste": (counts / counts.sum()).round(6).tolist()}


def _chunks(model: TasteModel, split: Split) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Users (b,) or contexts (b, t), and their own items as rows (p,) of the chunk and items (p,); gates and their entropies fit."""
    size = max(1, CHUNK_BYTES // (12 * model.components * (model.n_items + 1)))
    if isinstance(split.test, Sequences):
        for start in range(0, len(split.test), size):
            context = torch.as_tensor(split.test.items[start : start + size, :-1], device=model.device)
            rows, columns = context.nonzero(as_tuple=True)
            yield context, rows, context[rows, columns]
        return
    assert isinstance(split.train, Interactions)
    order = np.argsort(split.train.users, kind="stable")
    owners, chosen = split.train.users[order], split.train.items[order]
    users = np.unique(split.test.users)
    for start in range(0, len(users), size):
        some = users[start : start + size]
        own = slice(*np.searchsorted(owners, (some[0], some[-1] + 1)))
        among = np.isin(owners[own], some)
        of_chunk = some, np.searchsorted(some, owners[own][among]), chosen[own][among]
        yield tuple(torch.as_tensor(values, device=model.device) for values in of_chunk)  # type: ignore[misc]


@torch.inference_mode()
def _of_chunk(model: TasteModel, users: Tensor, rows: Tensor, items: Tensor) -> dict[str, Tensor]:
    vectors, attention = model.represent(users)  # (b, m, d) twice
    assert attention is not None
    fit = attention @ model.item_vectors[1:].T  # (b, m, n)
    fit -= fit.amax(dim=1, keepdim=True)
    total = (gate := fit.exp()).sum(dim=1, keepdim=True)  # (b, 1, n)
    gate /= total
    entropy = total.squeeze(1).log() - fit.mul_(gate).sum(dim=1)  # (b, n): a logarithm for each item, not for each taste of it
    own = torch.zeros(gate.shape[:2], device=model.device).index_add_(0, rows, gate[rows, :, items - 1])  # (b, m)
    number = torch.bincount(rows, minlength=len(users)).unsqueeze(1)  # (b, 1)
    mean = torch.where(number > 0, own / number.clamp(min=1), gate.mean(dim=2))
    share, taste = mean.max(dim=1)
    m = model.components
    unit = normalize(vectors, dim=2)
    cosine = ((unit @ unit.mT).sum(dim=(1, 2)) - m) / (m * (m - 1))
    return {
        "gate_entropy": entropy.mean(dim=1),
        "effective_tastes": torch.special.entr(mean).sum(dim=1).exp(),
        "cosine": cosine,
        "dominant_share": share,
        "dominant_taste": taste,
    }
