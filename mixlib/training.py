"""Fit a model: batches, negatives, optimiser, early stopping on validation MRR, early signs of trouble."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mixlib import adam, checkpoints, kernels
from mixlib.adam import Adam, Late
from mixlib.checkpoints import Checkpoint
from mixlib.evaluation import Scorer, interaction_reciprocal_ranks, sequence_reciprocal_ranks
from mixlib.losses import LOSSES, Loss
from mixlib.models import Represented, SequenceModel, TasteModel, UserTable
from mixlib.names import choose
from mixlib.splits import Sequences, Split

TYPES: dict[str, tuple[type, ...]] = {
    "learning_rate": (int, float),
    "l2": (int, float),
    "negatives": (int, type(None)),
    "exclude_positives": (bool,),
    "seed": (int,),
}


@dataclass(frozen=True)
class Settings:
    """How to fit. batch_size: interactions or windows; l2: Adam's weight decay; patience: validations without a better MRR.

    negatives: candidates k for each positive, None for what the loss is used with. exclude_positives: draw again, up to
    20 times, where an item is one that the user has in train (the paper keeps those). validate_every: epochs between two validations.
    Raises ValueError that says what a value must be.
    """

    loss: str = "adaptive_hinge"
    batch_size: int = 256
    learning_rate: float = 3e-3
    l2: float = 1e-8
    epochs: int = 50
    patience: int = 5
    validate_every: int = 1
    negatives: int | None = None
    exclude_positives: bool = False
    seed: int = 0

    def __post_init__(self):
        for name, value in vars(self).items():
            if isinstance(value, np.generic):  # a number of NumPy's
                object.__setattr__(self, name, value.item())
        choose("loss", self.loss, LOSSES)
        for name, lowest in (("batch_size", 1), ("epochs", 1), ("patience", 1), ("validate_every", 1)):
            if type(getattr(self, name)) is not int or getattr(self, name) < lowest:
                raise ValueError(f"{name} must be a whole number of at least {lowest}, not {getattr(self, name)!r}.")
        for name, kinds in TYPES.items():
            if type(getattr(self, name)) not in kinds:
                raise ValueError(f"{name} must be {' or '.join(kind.__name__ for kind in kinds)}, not {getattr(self, name)!r}.")
        if not self.learning_rate > 0 or not self.l2 >= 0 or (self.negatives is not None and self.negatives < 1):
            raise ValueError(f"learning_rate must be above 0, l2 at least 0, negatives at least 1: {self}.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be between 0 and 2^63 - 1, not {self.seed}.")


@dataclass
class History:
    """What happened: mean loss of every epoch, validation MRR by epoch (counted from 1), and the epoch whose parameters are kept.

    seconds: that went into the states it went on from, where it was cut off.
    """

    losses: list[float] = field(default_factory=list)
    validation: dict[int, float] = field(default_factory=dict)
    best_epoch: int = 0
    seconds: float = 0.0

    @property
    def best(self) -> float:
        """Validation MRR of the epoch that is kept."""
        return self.validation[self.best_epoch]


class Diverged(ArithmeticError):
    """The loss became NaN, infinite, or a hundred times what it was."""


@contextmanager
def _tiny_as_zero() -> Iterator[None]:
    """Numbers nearer to 0 than 1e-38 count as 0 meanwhile: weight decay makes them of parameters, and a CPU takes up to twenty times as
    long for them.

    This holds for the thread that fits. Torch's others, which would keep it for ever if they began meanwhile, begin before.
    """
    torch.ones(2**15 * torch.get_num_threads()).add_(1)  # work is split by 2^15 numbers
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


@_tiny_as_zero()
def fit(model: TasteModel, data: Split, settings: Settings, checkpoint: Checkpoint | None = None) -> History:
    """Fit a model on data.train, in place, and leave it at the epoch with the best MRR on data.validation.

    checkpoint: where the state is kept every ten minutes; a fit that finds one there goes on from it, to the same parameters.
    Progress shows on a terminal only. The same seed, machine and number of threads give bit-identical parameters on a CPU.
    Raises Diverged on a NaN or exploding loss, ValueError when model and data do not belong together or train is empty.
    """
    if not isinstance(data, Split):
        raise ValueError(f"a model is fitted on a Split, not on {type(data).__name__}: cut the data first, as `splits` does.")
    sequential = isinstance(data.train, Sequences)
    if sequential != model.sequential:
        wanted, found = ("windows of interactions", "interactions") if model.sequential else ("interactions", "windows")
        raise ValueError(f"{model.kind} is fitted on {wanted}, but the split holds {found}.")
    if model.n_items != data.train.n_items or (model.n_users or data.train.n_users) < data.train.n_users:
        wanted, found = ((f"{one.n_users:,} users and " if model.n_users else "") + f"{one.n_items:,} items" for one in (model, data.train))
        raise ValueError(f"{model.kind} was built for {wanted}, but the split has {found}.")
    if not len(data.train) or not len(data.validation):
        raise ValueError("train and validation must not be empty: take more users or interactions.")
    device = model.device
    generator = torch.Generator(device).manual_seed(settings.seed)
    draw = _sampler(data, settings, generator)
    users = torch.as_tensor(data.train.users, device=device)
    items = torch.as_tensor(data.train.items, device=device)
    work = _positions(data) * model.components * model.dim * settings.epochs
    compiled = kernels.pays(work, device)
    loss_of = _compiled_loss if compiled else _batch_loss
    late_users, late_items = map(Late, _late(model, settings) if compiled else ([], []))
    optimizer = Adam(model.parameters(), settings.learning_rate, settings.l2, [late_users, late_items])
    total = torch.zeros((), device=device)

    def candidates(owners: Tensor, positives: Tensor) -> Tensor:
        found = torch.cat([positives.unsqueeze(0), draw(owners)])
        optimizer.reach(late_items, found)
        return found

    def step(rows: Tensor) -> None:
        ours = users[rows]
        optimizer.reach(late_users, ours)
        loss = loss_of(model, ours, items[rows], candidates, LOSSES[settings.loss])
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    recorded = _records(device, sequential, settings)
    make_step = _Recorded(step, optimizer, settings.batch_size, generator) if recorded else step
    began = time.monotonic()
    kept, history = _resumed(checkpoint, model, optimizer, generator) if checkpoint else ({}, History())
    done, before, saved = len(history.losses), history.seconds, began
    with tqdm(total=settings.epochs, initial=done, desc=model.kind, unit="epoch", leave=False, disable=None) as progress:
        for epoch in range(done + 1, settings.epochs + 1):
            total.zero_()
            order = torch.randperm(len(users), generator=generator, device=device)
            batches = order.split(settings.batch_size)
            try:
                for rows in batches:
                    make_step(rows)
            finally:  # one who stops the fit has a model without rows that are late
                optimizer.settle()
            history.losses.append(float(total) / len(batches))
            _check(history.losses, settings)
            if epoch % settings.validate_every == 0 or epoch == settings.epochs:
                if not all(parameter.isfinite().all() for parameter in model.parameters()):
                    history.losses[-1] = float("nan")
                    _check(history.losses, settings)
                if not recorded:  # a recorded step writes to its gradients where they lie
                    optimizer.zero_grad()  # they are as large as the tables: no need of them beside what ranking takes
                history.validation[epoch] = validation_mrr(model, data)
                if not kept or history.validation[epoch] > history.best:
                    history.best_epoch = epoch
                    kept = kept or {name: torch.empty_like(values) for name, values in model.state_dict().items()}
                    for name, values in model.state_dict().items():
                        kept[name].copy_(values)
            progress.update()
            progress.set_postfix(loss=f"{history.losses[-1]:.4f}", mrr=f"{history.best:.4f}" if kept else "-")
            if kept and epoch - history.best_epoch >= settings.patience * settings.validate_every:
                break
            if checkpoint and time.monotonic() - saved >= checkpoints.EVERY:
                saved = time.monotonic()
                rest = asdict(history) | {"seconds": before + saved - began, "model": checkpoints.form(model)}
                checkpoint.write(checkpoints.state(kept, model, optimizer, generator), rest)
    model.load_state_dict(kept)
    return history


def _late(model: TasteModel, settings: Settings) -> tuple[list[Tensor], list[Tensor]]:
    """The tables of users and of items that Adam may be late with: those of which a batch of interactions reads no other rows."""
    encoder, items, named = model.encoder, model.items.weight, settings.batch_size
    tables = {module.weight: None for module in encoder.modules() if isinstance(module, UserTable)}  # two may share one
    users = [table for table in tables if table is not items and adam.suits(table, named)]
    candidates = named * (1 + (settings.negatives or LOSSES[settings.loss].negatives))
    read_elsewhere = type(model) is not TasteModel or any(parameter is items for parameter in encoder.parameters())
    found = users, [items] if not read_elsewhere and adam.suits(items, candidates) else []
    return found if any(found) and adam.compiled() else ([], [])


def _resumed(
    checkpoint: Checkpoint, model: TasteModel, optimizer: torch.optim.Optimizer, generator: torch.Generator
) -> tuple[dict[str, Tensor], History]:
    """What was kept, and what happened, by the last state, with everything put back as it was then; nothing where there is none."""
    read = checkpoint.read()
    if not read or read[1].pop("model") != checkpoints.form(model):
        return {}, History()
    kept = checkpoints.restore(read[0], model, optimizer, generator)
    validation = {int(epoch): mrr for epoch, mrr in read[1]["validation"].items()}
    return kept, History(**read[1] | {"validation": validation})


def _records(device: torch.device, sequential: bool, settings: Settings) -> bool:
    """Whether steps are recorded: on a GPU, where a step is the same work whatever the batch holds."""
    return device.type == "cuda" and not sequential and not settings.exclude_positives


class _Recorded:
    """A training step on a GPU, recorded once and then replayed: to launch its hundred kernels takes ten times as long as to run them.

    The first steps run as they are, so that all that lasts is there before the record. A batch of another size always does.
    """

    def __init__(self, step: Callable[[Tensor], None], optimizer: torch.optim.Optimizer, batch_size: int, generator: torch.Generator):
        self.step, self.optimizer, self.generator = step, optimizer, generator
        self.rows = torch.zeros(batch_size, dtype=torch.long, device=generator.device)
        self.stream = torch.cuda.Stream(generator.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.plain = 3

    def __call__(self, rows: Tensor) -> None:
        if self.plain == 0 and len(rows) == len(self.rows):
            self.graph = self.graph or self._recorded()
            self.rows.copy_(rows)
            self.graph.replay()
            return
        self.plain = max(0, self.plain - 1)
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            self.step(rows)
        torch.cuda.current_stream().wait_stream(self.stream)

    def _recorded(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.generator)
        self._capturable(True)  # else the optimizer refuses; its state lies on the GPU either way
        with torch.cuda.graph(graph, stream=self.stream):
            self.step(self.rows)
        self._capturable(False)
        return graph

    def _capturable(self, is_so: bool) -> None:
        for group in self.optimizer.param_groups:
            group["capturable"] = is_so


def validation_mrr(model: Scorer, data: Split) -> float:
    """The paper's MRR on data.validation: mean over windows, or over users of the mean over their items."""
    if isinstance(data.validation, Sequences):
        return float(sequence_reciprocal_ranks(model, data.validation).mean())
    return float(interaction_reciprocal_ranks(model, data, "validation").mean())


Draw = Callable[[Tensor], Tensor]
Candidates = Callable[[Tensor, Tensor], Tensor]  # of users and their positives


def _batch_loss(model: TasteModel, users: Tensor, items: Tensor, candidates_of: Candidates, loss: Loss) -> Tensor:
    """Mean loss of a batch: of interactions (b,), (b,), or of the p real items of windows: users (b,), items (b, t)."""
    represented, candidates = _represented(model, users, items, candidates_of)
    if loss.pick:  # the others get no gradient: no graph for them
        with torch.no_grad():
            scores = model.score_candidates(represented, candidates)
            candidates = _kept(candidates, candidates[1:].gather(0, loss.pick(scores[0], scores[1:])))
    scores = model.score_candidates(represented, candidates)
    return loss.function(scores[0], scores[1:]).mean()


def _compiled_loss(model: TasteModel, users: Tensor, items: Tensor, candidates_of: Candidates, loss: Loss) -> Tensor:
    """As `_batch_loss`, by the compiled kernels."""
    represented, candidates = _represented(model, users, items, candidates_of)
    if loss.pick:
        candidates = _kept(candidates, kernels.chosen(loss.pick)(*represented, model.item_vectors, model.item_biases, candidates))
    vectors, biases = model.items(candidates), model.biases_of(candidates)  # (c, p, d), (c, p)
    return kernels.mean_loss(loss.function)(*represented, vectors, biases)


def _represented(model: TasteModel, users: Tensor, items: Tensor, candidates_of: Candidates) -> tuple[Represented, Tensor]:
    """Tastes and attention (p, m, d) of every positive of a batch, and its candidates (1 + k, p): the positive, then the negatives."""
    if isinstance(model, SequenceModel):
        represented, items, windows = model.represent_positions(items)  # (p, m, d) twice, (p,), (p,)
        users = users[windows]
    else:
        represented = model.represent(users)
    return represented, candidates_of(users, items)


def _kept(candidates: Tensor, negative: Tensor) -> Tensor:
    return torch.cat([candidates[:1], negative])


def _positions(data: Split) -> int:
    """Positives of one epoch."""
    return int(np.count_nonzero(data.train.items))


def _sampler(data: Split, settings: Settings, generator: torch.Generator) -> Draw:
    """A function from users (b,) to negatives (k, b), uniform over items 1..n_items; padding is never drawn."""
    n_items, device = data.train.n_items, generator.device
    k = settings.negatives or LOSSES[settings.loss].negatives

    def uniform(number: int) -> Tensor:
        return torch.randint(1, n_items + 1, (number,), generator=generator, device=device)

    if not settings.exclude_positives:
        return lambda users: uniform(k * len(users)).view(k, -1)
    train = data.train
    owners = np.repeat(train.users, train.items.shape[1]) if isinstance(train, Sequences) else train.users
    known = torch.as_tensor(np.unique(owners * (n_items + 1) + train.items.ravel()), device=device)

    def unknown(users: Tensor) -> Tensor:
        owner, drawn = users.repeat(k), uniform(k * len(users))
        for _ in range(20):  # a user with nearly all items keeps a few positives
            pairs = owner * (n_items + 1) + drawn
            met = known[torch.searchsorted(known, pairs).clamp(max=len(known) - 1)] == pairs
            if not met.any():
                break
            drawn[met] = uniform(int(met.sum()))
        return drawn.view(k, -1)

    return unknown


def _check(losses: list[float], settings: Settings) -> None:
    if not np.isfinite(losses[-1]):
        what = "not a number"
    elif losses[-1] > 100 * max(losses[0], 1):
        what = f"{losses[-1]:.3g}, after {losses[0]:.3g} in the first one"
    else:
        return
    raise Diverged(f"the loss of epoch {len(losses)} is {what}: lower the learning rate (now {settings.learning_rate:g}).")
