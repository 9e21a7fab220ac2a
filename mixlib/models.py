"""Users as mixtures of tastes: encoders that turn a user or a window into tastes, and one function that scores items.

The letters: b users or windows in a batch, m tastes, d width of a vector, n items, t length of a window, p positions.
"""

from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mixlib.names import choose

Represented = tuple[Tensor, Tensor | None]


def score(tastes: Tensor, attention: Tensor | None, item_vectors: Tensor, item_biases: Tensor) -> Tensor:
    """Score items for users who hold several tastes: softmax(A e) . (U e) + b, equation (1) of Kula (2018).

    tastes, attention: (b, m, d), attention None when m = 1. item_vectors: (n, d) when all users meet the same items, or
    (b, n, d) when each has its own; item_biases: (n,) or (b, n). Returns (b, n).
    """
    if attention is None and item_vectors.ndim == 3:  # a batch of tiny products is slow
        return (tastes * item_vectors).sum(dim=2) + item_biases
    liking = tastes @ item_vectors.mT  # (b, m, n) what each taste thinks of each item
    if attention is None:
        return liking.squeeze(1) + item_biases
    competence = (attention @ item_vectors.mT).softmax(dim=1)  # (b, m, n) how much each taste counts there
    return (competence * liking).sum(dim=1) + item_biases  # (b, n)


class Table(nn.Embedding):
    """Vectors by id, normal with standard deviation 1 / width; a padding row is 0 and stays there."""

    def reset_parameters(self) -> None:
        """Draw the vectors."""
        nn.init.normal_(self.weight, std=1 / self.embedding_dim)
        self._fill_padding_idx_with_zero()

    def forward(self, input: Tensor) -> Tensor:
        """Vectors (..., d) of ids (...)."""
        return rows(self.weight, input)


class UserTable(Table):
    """Vectors of users. Every batch reads those of its own users, by their ids unchanged, and no others: `adam` is late with the rest."""


def rows(table: Tensor, ids: Tensor) -> Tensor:
    """Rows (..., d) of a table (n, d) by ids (...): as torch's embedding, but `backward` adds to a parameter's `grad` where it lies.

    Otherwise every use of a table in a loss would make, fill and add a gradient as large as the table. So `torch.autograd.grad` does not
    see a parameter through here. A padding row gets no gradient only because no padding enters a loss.
    """
    flat = ids.reshape(-1)
    found = _Rows.apply(table, flat) if table.is_leaf else table.index_select(0, flat)
    return found.view(*ids.shape, table.shape[1])


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, table: Tensor, ids: Tensor) -> Tensor:
        ctx.table, ctx.ids = table, ids
        return table.index_select(0, ids)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[None, None]:
        if ctx.table.grad is None:
            ctx.table.grad = torch.zeros_like(ctx.table)
        ctx.table.grad.index_add_(0, ctx.ids, gradient)
        return None, None


class Heads(nn.Module):
    """Two linear maps d -> m d: of a vector to its tastes and to their attention, which a single taste does not need."""

    def __init__(self, dim: int, components: int, bias: bool, gain: float | None = None):
        super().__init__()
        self.shape = (components, dim)
        self.tastes = nn.Linear(dim, components * dim, bias=bias)
        self.attention = nn.Linear(dim, components * dim, bias=bias) if components > 1 else None
        if gain is not None:
            for parameter in self.parameters():
                nn.init.xavier_normal_(parameter, gain)

    def forward(self, vectors: Tensor) -> Represented:
        """Tastes and attention: (b, d) -> (b, m, d) twice."""
        tastes = self.tastes(vectors).unflatten(-1, self.shape)
        return tastes, self.attention(vectors).unflatten(-1, self.shape) if self.attention else None


class OneTaste(nn.Module):
    """A vector is its own single taste, and needs no attention."""

    def forward(self, vectors: Tensor) -> Represented:
        """Tastes and attention: (b, d) -> (b, 1, d)."""
        return vectors.unsqueeze(1), None


class TasteTables(nn.Module):
    """Tastes and attention of every user from two tables of width m d; a single taste needs no attention."""

    def __init__(self, n_users: int, dim: int, components: int):
        super().__init__()
        self.shape = (components, dim)
        self.tastes = UserTable(n_users, components * dim)
        self.attention = UserTable(n_users, components * dim) if components > 1 else None

    def forward(self, users: Tensor) -> Represented:
        """Tastes and attention: (b,) -> (b, m, d) twice."""
        tastes = self.tastes(users).unflatten(-1, self.shape)
        return tastes, self.attention(users).unflatten(-1, self.shape) if self.attention else None


class TasteModel(nn.Module):
    """Item vectors and biases, and an encoder of users. `kind` and `sequential` say which and of what; n_users: None without a table."""

    sequential = False

    def __init__(self, kind: str, n_items: int, dim: int, components: int, encoder: nn.Module, n_users: int | None = None):
        super().__init__()
        self.kind, self.n_items, self.n_users, self.dim, self.components = kind, n_items, n_users, dim, components
        self.items = Table(n_items + 1, dim, padding_idx=0)
        self.biases = nn.Embedding.from_pretrained(torch.zeros(n_items + 1, 1), freeze=False)
        self.encoder = encoder

    @property
    def device(self) -> torch.device:
        """Where the parameters lie."""
        return self.items.weight.device

    @property
    def item_vectors(self) -> Tensor:
        """(n_items + 1, d), row 0 is padding."""
        return self.items.weight

    @property
    def item_biases(self) -> Tensor:
        """(n_items + 1,)."""
        return self.biases.weight.squeeze(1)

    def represent(self, users: Tensor) -> Represented:
        """Tastes and attention (b, m, d) of users (b,); attention is None when m = 1."""
        return self.encoder(users)

    def scores(self, users: Tensor) -> Tensor:
        """Scores (b, n_items + 1) of every item, column 0 is padding, for users (b,) or windows (b, t)."""
        return score(*self.represent(users), self.item_vectors, self.item_biases)

    def score_candidates(self, represented: Represented, candidates: Tensor) -> Tensor:
        """Scores (c, b) of candidates (c, b): c items for each of b users or positions."""
        return score(*represented, self.items(candidates.T), self.biases_of(candidates.T)).T  # of vectors (b, c, d)

    def biases_of(self, candidates: Tensor) -> Tensor:
        """Biases (...) of candidates (...)."""
        return rows(self.biases.weight, candidates).squeeze(-1)


class SequenceModel(TasteModel):
    """An LSTM over the items of a window; tastes come from its hidden state.

    over_padding: it is run over the zeros of the left padding, too, as the code of 2018 did, so that padding changes its states.
    """

    sequential = True

    def __init__(self, kind: str, n_items: int, dim: int, components: int, encoder: nn.Module, over_padding: bool = False):
        super().__init__(kind, n_items, dim, components, encoder)
        self.lstm = nn.LSTM(dim, dim, batch_first=True)
        self.over_padding = over_padding

    def states(self, windows: Tensor) -> Tensor:
        """Hidden states (b, t + 1, d) after a start step and after each place of windows (b, t); padding on the right comes after all."""
        return self.lstm(pad(self.items(windows), (0, 0, 1, 0)))[0]

    def represent(self, users: Tensor) -> Represented:
        """Tastes and attention (b, m, d) of windows (b, t), padded with 0 on the left, after their last item."""
        windows = left_align(users)
        if self.over_padding:
            return self.encoder(self.states(users)[:, -1])
        lengths = (windows != 0).sum(dim=1)  # (b,)
        last = self.states(windows[:, : max(1, int(lengths.max()))])[torch.arange(len(windows)), lengths]
        return self.encoder(last)  # (b, d) -> (b, m, d)

    def represent_positions(self, windows: Tensor) -> tuple[Represented, Tensor, Tensor]:
        """For each of the p real items of windows (b, t): tastes and attention (p, m, d) before it, the item (p,), and its window (p,).

        On a CPU, short windows come first.
        """
        aligned, lengths = left_align(windows), (windows != 0).sum(dim=1)
        found = []
        for some in alike(lengths):
            items = windows[some] if self.over_padding else aligned[some, : int(lengths[some].max())]  # (s, l)
            real = items.reshape(-1).nonzero().squeeze(1)
            states = self.states(items[:, :-1]).flatten(0, 1)  # (s l, d)
            found.append((states.index_select(0, real), items.reshape(-1)[real], some[real // items.shape[1]]))
        states, targets, owners = (torch.cat(parts) for parts in zip(*found, strict=True))
        return self.encoder(states), targets, owners


def alike(lengths: Tensor) -> list[Tensor]:
    """Indices into lengths (b,), those within a factor of two together, as a CPU's time goes with steps times windows; all, on a GPU."""
    if lengths.device.type != "cpu":
        return [torch.arange(len(lengths), device=lengths.device)]
    doublings = lengths.float().log2().ceil()
    return [(doublings == doubling).nonzero().squeeze(1) for doubling in doublings.unique()]


def left_align(windows: Tensor) -> Tensor:
    """Move the left padding of windows (b, t) to the right, where a causal encoder never meets it before an item.

    Raises ValueError where a 0 comes after an item.
    """
    t = windows.shape[1]
    if ((windows[:, :-1] != 0) & (windows[:, 1:] == 0)).any():
        raise ValueError("windows are padded with 0 on the left: no 0 may come after an item.")
    shift = (windows == 0).sum(dim=1, keepdim=True)  # (b, 1)
    return windows.gather(1, (torch.arange(t, device=windows.device) + shift) % max(t, 1))


def build(
    kind: str,
    n_items: int,
    n_users: int | None = None,
    dim: int = 32,
    components: int = 4,
    gain: float = 1.0,
    bias: bool = False,
    over_padding: bool = False,
) -> TasteModel:
    """Build one of the five models, its parameters drawn from torch's global generator.

    components: the number of tastes m, unused by `factorization` and `lstm`. gain: of the Xavier-normal projections of
    `projection_mixture`; bias: whether these have biases, which begin at 0, as in the text of 2018. n_users: needed by the three models
    that keep a table of users. over_padding: whether a sequence model is run over left padding, as in the code of 2018.
    Raises ValueError on an unknown kind, a size that is no whole number of at least 1, a missing n_users, or an option of other models.
    Source: Kula (2018), section 3.
    """
    choose("model", kind, KINDS)
    if bias and kind != "projection_mixture":
        raise ValueError(f"bias=True is for projection_mixture, not for {kind}.")
    if over_padding and kind not in SEQUENTIAL:
        raise ValueError(f"over_padding=True is for {' and '.join(SEQUENTIAL)}, not for {kind}.")
    sizes: dict[str, object] = {"n_items": n_items, "dim": dim, "components": components, "n_users": n_users or 1}
    for name, value in sizes.items():
        if not isinstance(value, Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, not {value!r}.")
    components = components if "mixture" in kind else 1
    if kind in SEQUENTIAL:
        return SequenceModel(kind, n_items, dim, components, KINDS[kind](0, dim, components, gain), over_padding)
    if n_users is None or n_users < 1:
        raise ValueError(f"{kind} keeps a table of users: give n_users.")
    encoder = KINDS[kind](n_users, dim, components, gain)
    if bias:
        for one in encoder.modules():
            if isinstance(one, nn.Linear):
                one.bias = nn.Parameter(torch.zeros(one.out_features))
    return TasteModel(kind, n_items, dim, components, encoder, n_users)


SEQUENTIAL = ("lstm", "mixture_lstm")

KINDS: dict[str, Callable[[int, int, int, float], nn.Module]] = {  # name -> encoder of (users, d, m, gain)
    "factorization": lambda n_users, d, m, gain: nn.Sequential(UserTable(n_users, d), OneTaste()),
    "projection_mixture": lambda n_users, d, m, gain: nn.Sequential(UserTable(n_users, d), Heads(d, m, bias=False, gain=gain)),
    "embedding_mixture": lambda n_users, d, m, gain: TasteTables(n_users, d, m),
    "lstm": lambda n_users, d, m, gain: OneTaste(),
    "mixture_lstm": lambda n_users, d, m, gain: Heads(d, m, bias=True),
}
