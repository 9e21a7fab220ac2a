"""Binary codes of a fitted model: the signs of its vectors, compared by XNOR and a count of bits.

A vector x becomes sign(x), one bit for each of its d numbers, and one scale, mean |x|, as in XNOR-nets. The product of two vectors is then
(agreeing bits - differing bits) times both scales, and everything else stays as it was: biases are added, and a mixture weighs its
tastes by the softmax of the attention's products. Source: Kula, "Binary Latent Representations for Efficient Ranking" (2017), who
trained his models that way; here the codes are those of a model that was trained with real numbers.
"""

import time

import numpy as np
import torch
from torch import Tensor

from mixlib.models import TasteModel


class Binary:
    """A fitted model that scores by the binary codes of its tastes, attention and item vectors: a Scorer of its own."""

    def __init__(self, model: TasteModel):
        self.model, self.n_items, self.n_users, self.components = model, model.n_items, model.n_users, model.components
        self.sequential = model.sequential
        with torch.no_grad():
            self.signs, self.scales = signs(model.item_vectors)  # (n, d), (n,)

    @property
    def device(self) -> torch.device:
        """Where users or windows must lie."""
        return self.model.device

    def scores(self, users: Tensor) -> Tensor:
        """Scores (b, n_items + 1) of every item for users (b,) or windows (b, t): products of signs are whole numbers, so exact."""
        return self._combined([(ours @ self.signs.T, scales) for ours, scales in self._codes(users)])

    def packed_scores(self, users: Tensor) -> Tensor:
        """The same scores to the last bit, from words of bits on the CPU: what a deployed system would run."""
        items = packed(self.signs)
        return self._combined([(agreement(packed(ours), items, self.model.dim), scales) for ours, scales in self._codes(users)])

    def _codes(self, users: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [signs(vectors) for vectors in self.model.represent(users) if vectors is not None]

    def _combined(self, products: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Scores (b, n) from the products (b, m, n) of signs and the users' scales (b, m): of the tastes, then of the attention if any."""
        liking, *attention = [product * (scales.unsqueeze(2) * self.scales) for product, scales in products]
        for weight in attention:
            liking = liking * weight.softmax(dim=1)
        return liking.sum(dim=1) + self.model.item_biases


def signs(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Signs (..., d), 1 or -1, 0 counting as positive, and the scale (...) mean |x| of vectors (..., d)."""
    return torch.where(vectors >= 0, 1.0, -1.0), vectors.abs().mean(dim=-1)


def packed(signs: Tensor) -> np.ndarray:
    """Signs (..., d) as bits in the widest words that d fills: (words, ...) of 8, 16, 32 or 64 bits; d need not be a multiple of 8."""
    bits = np.packbits(signs.cpu().numpy() > 0, axis=-1)  # (..., bytes)
    width = next(w for w in (8, 4, 2, 1) if bits.shape[-1] % w == 0)
    return np.ascontiguousarray(np.moveaxis(bits.view(f"u{width}"), -1, 0))


def agreement(users: np.ndarray, items: np.ndarray, d: int) -> Tensor:
    """Agreeing minus differing bits (b, m, n) of the codes of tastes (words, b, m) and of items (words, n): d - 2 Hamming distances."""
    first, *more = (np.bitwise_count(ours[..., None] ^ theirs) for ours, theirs in zip(users, items, strict=True))
    differing = sum(more, first.astype(np.float32))
    return torch.from_numpy(d - 2 * differing)


def sizes(model: TasteModel) -> dict[str, dict[str, int]]:
    """Bytes of the representation of one item (with its bias) and of one user, as real numbers and as codes with their scales.

    A user is m tastes, and m attention vectors where m > 1; what an encoder needs to make them of a history is not counted.
    """
    vectors, real, binary = model.components * (1 + (model.components > 1)), 4 * model.dim, -(-model.dim // 8) + 4
    return {"item": {"real": real + 4, "binary": binary + 4}, "user": {"real": vectors * real, "binary": vectors * binary}}


@torch.inference_mode()
def predictions_per_ms(model: TasteModel, users: Tensor, rounds: int = 5) -> dict[str, float]:
    """Items scored per millisecond for one user after another, `real` and `binary`, both on the CPU, in numpy and from representations
    that are ready; the rounds take turns, and the fastest of each counts. users: (b,), or windows (b, t).
    """
    tastes, attention = (None if v is None else v.cpu() for v in model.represent(users))
    vectors, biases = model.item_vectors.cpu().numpy(), model.item_biases.cpu().numpy()
    both = [v for v in (tastes, attention) if v is not None]
    item_signs, item_scales = signs(model.item_vectors.cpu())
    words, scale = packed(item_signs), item_scales.numpy()
    real = [v.numpy() for v in both]  # (b, m, d)
    codes = [(packed(s), c.numpy()) for s, c in map(signs, both)]  # (words, b, m), (b, m)

    def score(products: list[np.ndarray]) -> np.ndarray:
        liking = products[0]
        if len(products) > 1:
            weight = np.exp(products[1] - products[1].max(axis=0))
            liking = liking * (weight / weight.sum(axis=0))
        return liking.sum(axis=0) + biases

    def by_numbers(user: int) -> np.ndarray:
        return score([v[user] @ vectors.T for v in real])

    def by_bits(user: int) -> np.ndarray:
        return score([agreement(w[:, user], words, model.dim).numpy() * (c[user, :, None] * scale) for w, c in codes])

    best = {"real": float("inf"), "binary": float("inf")}
    for _ in range(rounds):
        for name, make in (("real", by_numbers), ("binary", by_bits)):
            start = time.perf_counter()
            for user in range(len(users)):
                make(user)
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: len(users) * model.n_items / (1000 * seconds) for name, seconds in best.items()}
